"""Tape: records the torch functions that a forward pass calls and the gradients autograd gives each.

Every call gets an alias of each input, so that a hook on the alias sees the gradient that this one
call sends back, even where a tensor is used many times. The tape knows no operation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_flatten, tree_map

from bptrain.reference.draws import Draws

_VIEWS = (Tensor.T, Tensor.mT, Tensor.H, Tensor.mH, Tensor.real, Tensor.imag)  # attributes that are functions
_TORCH = str(Path(torch.__file__).parent)
_PACKAGE = Path(__file__).parent.parent
_HERE = (str(_PACKAGE / "reference"), str(_PACKAGE / "check"))


@dataclass(frozen=True)
class Input:
    """Stands for a tensor among the arguments of a call: its position there and its variable."""

    position: int
    variable: int


@dataclass(frozen=True)
class Output:
    """Stands for a tensor in the result of a call."""

    position: int
    variable: int


@dataclass(eq=False)
class Call:
    """One call of a torch function, as it was made and as autograd went back through it."""

    function: Callable
    name: str
    path: str  # of the module that made the call, e.g. 'layers.0'
    source: str  # 'file:line' of the first line outside torch
    args: tuple  # with Input in place of each tensor
    kwargs: dict[str, Any]
    result: Any = None  # with Output in place of each tensor
    grad_mode: bool = True
    draws: Draws | None = None  # before the call
    wanted: set[int] = field(default_factory=set)  # positions of the inputs that autograd should send a gradient to
    inner: list[Call] = field(default_factory=list)  # what the forward of a custom autograd.Function called
    input_gradients: dict[int, Tensor] = field(default_factory=dict)  # by position, what autograd sent back
    output_gradients: dict[int, Tensor] = field(default_factory=dict)  # by position, what autograd passed in
    scope: FrameType | None = None  # the `apply` of a custom autograd.Function that the call ran inside

    @property
    def inputs(self) -> list[Input]:
        return [x for x in tree_flatten((self.args, self.kwargs))[0] if isinstance(x, Input)]

    @property
    def outputs(self) -> list[Output]:
        return [x for x in tree_flatten(self.result)[0] if isinstance(x, Output)]


class Tape(TorchFunctionMode):
    """`with Tape(model) as tape: loss = ...` fills `tape.calls`; a backward pass afterwards fills their gradients.

    values[v]   the tensor of variable v as it was recorded (a detached copy)
    leaves      name -> variable, for the parameters of `model` and the tensors named by `leaf`
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.values: list[Tensor] = []
        self.leaves: dict[str, int] = {}
        self._known: dict[int, tuple[int, int]] = {}  # id(tensor) -> variable, version
        self._edges: dict[tuple[int, int], int] = {}  # (id(grad_fn), output number) -> variable
        self._nodes: set[int] = set()  # custom functions already taken in
        self._alive: list[Any] = []  # keeps ids unique while the tape lives
        self._paths: list[str] = []
        self._handles: list[Any] = []
        if model is not None:
            for name, parameter in model.named_parameters():
                self.leaf(name, parameter)
            for name, module in model.named_modules():
                self._watch(name, module)

    def leaf(self, name: str, tensor: Tensor) -> None:
        """Names a tensor whose gradient is wanted."""
        self.leaves[name] = self._new(tensor)

    def variable(self, tensor: Tensor) -> int:
        """The variable of a tensor: a known one, the result of a custom autograd.Function, or a constant."""
        node = tensor.grad_fn
        if isinstance(node, BackwardCFunction) and id(node) not in self._nodes:
            self._take_custom(tensor, node)
        known = self._known.get(id(tensor))
        if known is not None and (known[1] == tensor._version or tensor.requires_grad):
            return known[0]
        return self._new(tensor)

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        flat = tree_flatten((args, kwargs))[0]
        if _is_about_tensor(func) or not any(isinstance(x, Tensor) for x in flat):
            return func(*args, **kwargs)
        source, scope = _where()
        grad = torch.is_grad_enabled()
        call = Call(func, resolve_name(func) or repr(func), self._paths[-1] if self._paths else "", source, (), {})
        call.grad_mode, call.draws, call.scope = grad, Draws.now(), scope
        in_place = _is_in_place(func, kwargs)
        position = iter(range(sys.maxsize))

        def enter(x: Any) -> tuple[Any, Any]:
            if not isinstance(x, Tensor):
                return x, x
            slot = Input(next(position), self.variable(x))
            if grad and x.requires_grad and not in_place:
                x = x.view_as(x)
                call.wanted.add(slot.position)
                x.register_hook(_store(call.input_gradients, slot.position))
            return slot, x

        entered = tree_map(lambda x: _Pair(enter(x)), (args, kwargs))
        call.args, call.kwargs = tree_map(lambda pair: pair.values[0], entered)
        args, kwargs = tree_map(lambda pair: pair.values[1], entered)
        result = func(*args, **kwargs)
        if any(isinstance(x, Tensor) for x in tree_flatten(result)[0]):
            self._leave(call, result)
        return result

    def _leave(self, call: Call, result: Any) -> None:
        position = iter(range(sys.maxsize))

        def leave(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            slot = Output(next(position), self._new(x))
            if x.grad_fn is not None and call.grad_mode:
                # At the node, so that what hooks on the tensor did to the gradient is seen as the call saw it.
                x.grad_fn.register_prehook(_store_output(call.output_gradients, slot.position, x.output_nr))
            return slot

        call.result = tree_map(leave, result)
        self.calls.append(call)

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        for handle in self._handles:
            handle.remove()
        for call in self.calls:
            call.scope = None

    def _new(self, tensor: Tensor) -> int:
        variable = len(self.values)
        self.values.append(tensor.detach().clone())
        self._known[id(tensor)] = (variable, tensor._version)
        self._alive.append(tensor)
        if tensor.grad_fn is not None:
            self._edges[id(tensor.grad_fn), tensor.output_nr] = variable
            self._alive.append(tensor.grad_fn)
        return variable

    def _watch(self, name: str, module: nn.Module) -> None:
        def enter(*_: Any) -> None:
            self._paths.append(name)

        def leave(*_: Any) -> None:
            self._paths.pop()

        self._handles += [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, always_call=True),
        ]

    def _take_custom(self, tensor: Tensor, node: Any) -> None:
        """Turns what a custom autograd.Function called in its forward into one call of that function.

        Its forward ran with gradients off, so the calls inside were recorded as constants; the node's
        own hook gives the gradients that its backward received and returned.
        """
        self._nodes.add(id(node))
        function = node._forward_cls
        produced = {o.variable: call for call in self.calls for o in call.outputs}
        known = self._known.get(id(tensor))
        maker = produced.get(known[0]) if known else None
        scope = maker.scope if maker is not None else None
        inner = [call for call in self.calls if call.scope is not None and call.scope is scope]
        sources = []
        for producer, number in node.next_functions:
            leaf = getattr(producer, "variable", None)
            if leaf is not None:
                sources.append(self.variable(leaf))
            elif producer is not None:
                sources.append(self._edges.get((id(producer), number), -1))
            else:
                sources.append(-1)
        path = maker.path if maker is not None else self._paths[-1] if self._paths else ""
        args = tuple(Input(i, v) if v >= 0 else None for i, v in enumerate(sources))
        call = Call(function, f"{function.__module__}.{function.__qualname__}", path, _defined(function), args, {})
        call.inner = inner
        call.wanted = {i for i, variable in enumerate(sources) if variable >= 0}
        result = known[0] if known else -1
        call.result = Output(0, self._new(tensor))
        call.kwargs = {"result": result}  # the variable inside that became the output
        self.calls = [c for c in self.calls if c not in inner] + [call]

        def store(grad_inputs: tuple, grad_outputs: tuple) -> None:
            for i, gradient in enumerate(grad_inputs):
                if gradient is not None:
                    call.input_gradients[i] = gradient.detach().clone()
            if grad_outputs[tensor.output_nr] is not None:
                call.output_gradients[0] = grad_outputs[tensor.output_nr].detach().clone()

        node.register_hook(store)


@dataclass
class _Pair:
    values: tuple[Any, Any]


def _store(gradients: dict[int, Tensor], position: int) -> Callable[[Tensor], None]:
    def hook(gradient: Tensor | None) -> None:
        if gradient is not None:  # of several outputs, such as those of split, one may go unused
            gradients[position] = gradient.detach().clone()

    return hook


def _store_output(gradients: dict[int, Tensor], position: int, number: int) -> Callable[[tuple], None]:
    def hook(grad_outputs: tuple) -> None:
        if grad_outputs[number] is not None:
            gradients[position] = grad_outputs[number].detach().clone()

    return hook


def _is_about_tensor(func: Any) -> bool:
    """Whether a function asks or sets something of this very tensor, so that an alias in its place would not do."""
    name = getattr(func, "__name__", "")
    if name in ("__get__", "__set__"):
        return getattr(func, "__self__", None) not in _VIEWS
    return name in ("register_hook", "register_post_accumulate_grad_hook", "retain_grad", "requires_grad_", "backward")


def _is_in_place(func: Any, kwargs: dict) -> bool:
    name = getattr(func, "__name__", "")
    return (name.endswith("_") and not name.endswith("__")) or name == "__setitem__" or bool(kwargs.get("inplace"))


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _where() -> tuple[str, FrameType | None]:
    """'file:line' of the innermost frame outside torch and this package, and the custom `apply` around it."""
    source, inside_torch, scope = "", "", None
    for frame in _frames():
        file = frame.f_code.co_filename
        if not source and not file.startswith((_TORCH, *_HERE)):
            source = f"{_short(file)}:{frame.f_lineno}"
        elif not inside_torch and file.startswith(_TORCH):
            inside_torch = f"torch{file.removeprefix(_TORCH)}:{frame.f_lineno}"
        if frame.f_code.co_name == "apply" and file.endswith("autograd/function.py"):
            scope = frame
            break
    # A torch module that no other code called, such as the layers of a Sequential, is its own source.
    return source or inside_torch, scope


def _defined(function: Any) -> str:
    """Where the backward of a custom function is written: the place to look when it is wrong."""
    code = getattr(getattr(function, "backward", None), "__code__", None)
    return f"{_short(code.co_filename)}:{code.co_firstlineno}" if code is not None else ""


def _short(file: str) -> str:
    path = Path(file)
    if path.is_relative_to(_PACKAGE):
        return str(path.relative_to(_PACKAGE.parent))
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file

"""Tape: records the torch functions that a forward pass calls and the gradients autograd gives each.

Every call gets an alias of each input, so that a hook on the alias sees the gradient that this one
call sends back, even where a tensor is used many times. The tape knows no operation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.nn.modules._functions import BackwardHookFunction
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.checkpoint import CheckpointFunction

from bptrain.reference.call import Call, Hole, Input, Output
from bptrain.reference.draws import Draws
from bptrain.reference.effect import GET_DATA, SET_DATA, is_about_tensor, is_in_place, is_size, makes_number
from bptrain.reference.hook import keep, keep_through_view
from bptrain.reference.memory import Memory, equal, places
from bptrain.reference.module_path import ModulePath
from bptrain.reference.source import defined, here

alias = torch.ops.aten.alias  # of the strides of its input; its way back takes a sparse gradient too


class Tape(TorchFunctionMode):
    """`with Tape(model) as tape: loss = ...` fills `tape.calls`; a backward pass afterwards fills their gradients.

    values[v]   the tensor of variable v as it was recorded (a detached copy)
    leaves      name -> variable, for the parameters of `model` and the tensors named by `leaf`
    holes       variable -> Hole, where the reference can't follow
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.values: list[Tensor] = []
        self.leaves: dict[str, int] = {}
        self.holes: dict[int, Hole] = {}
        self._known: dict[int, tuple[int, int]] = {}  # id(tensor) -> variable, version
        self._edges: dict[tuple[int, int], int] = {}  # (id(grad_fn), output number) -> variable
        self._own: set[int] = set()  # id(grad_fn) of custom Functions that a torch function is made of
        self._memory = Memory()
        self._put: set[int] = set()  # variables of tensors written to through views, whose gradient is theirs too
        self._custom: dict[int, Call] = {}  # id(grad_fn) -> the call of a custom Function
        self._alive: list[Any] = []  # keeps ids unique while the tape lives
        self._path = ModulePath(model)
        if model is not None:
            for name, parameter in model.named_parameters():
                self.leaf(name, parameter)

    def leaf(self, name: str, tensor: Tensor) -> None:
        """Names a tensor whose gradient is wanted."""
        with torch._C.DisableTorchFunction():
            self.leaves[name] = self._new(tensor)

    def variable(self, tensor: Tensor) -> int:
        """The variable of a tensor: a known one, the result of a custom autograd.Function, a constant or a hole."""
        with torch._C.DisableTorchFunction():  # what the tape itself calls is no part of the forward pass
            return self._variable(tensor)

    def _variable(self, tensor: Tensor) -> int:
        node = tensor.grad_fn
        if isinstance(node, BackwardCFunction) and id(node) not in self._own:
            custom = self._custom.get(id(node))
            if custom is None or all(o.position != tensor.output_nr for o in custom.outputs):
                return self._take_custom(tensor, node, custom)
        known = self._known.get(id(tensor))
        if known is not None:
            # Kernels write buffers, and `data` leaves, without a word to the version: these are compared by value.
            variable, version = known
            same = version == tensor._version or not tensor.requires_grad
            if same and (node is not None or equal(self.values[variable], tensor)):
                return variable
            if tensor.requires_grad and node is None:
                return self._overwritten(variable, tensor)
            if node is not None:
                written = self._written(variable, version, tensor)
                if written is not None:
                    return written
        variable = self._new(tensor)
        if node is not None:
            self.holes[variable] = Hole(node.name(), self._path.current, here()[0])
        return variable

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.autograd.grad:
            for earlier in self.calls:
                earlier.twice = True
        if func == GET_DATA and args[0].requires_grad:
            return self._take_data(func, args[0])
        if func == SET_DATA and args[0].requires_grad:
            old, result = self.variable(args[0]), func(*args, **kwargs)
            with torch._C.DisableTorchFunction():
                self._overwritten(old, args[0])
            return result
        if is_about_tensor(func):
            return func(*args, **kwargs)
        flat, spec = tree_flatten((args, kwargs), is_leaf=is_size)
        if not any(isinstance(x, Tensor) for x in flat):
            return func(*args, **kwargs)
        source, scope = here()
        name = resolve_name(func) or getattr(func, "__name__", repr(func))
        call = Call(func, name, self._path.current, source, (), {})
        call.grad_mode, call.draws, call.scope = torch.is_grad_enabled(), Draws.now(), scope
        device = next(x for x in flat if isinstance(x, Tensor)).device.type
        call.autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        in_place, position = is_in_place(func, args, kwargs), itertools.count()
        aliases: list[tuple[Tensor, Any, int]] = []
        target = next(x for x in flat if isinstance(x, Tensor)) if in_place and call.grad_mode else None
        version = target._version if target is not None else 0

        def enter(x: Any) -> tuple[Any, Any]:
            if not isinstance(x, Tensor):
                return x, x
            slot = Input(next(position), self.variable(x))
            if call.grad_mode and x.requires_grad:
                call.wanted.add(slot.position)
                if x is target and x._base is not None:
                    return slot, x  # see `keep_through_view`
                if in_place and slot.position == 0:
                    # The call writes to this very tensor, so the hook sees what all its uses before send back.
                    call.shared.add(0)
                else:
                    x = alias(x)
                    aliases.append((x, x.grad_fn, slot.position))
                x.register_hook(keep(call.input_gradients, slot.position))
            return slot, x

        entered = [enter(x) for x in flat]
        call.args, call.kwargs = tree_unflatten([slot for slot, _ in entered], spec)
        args, kwargs = tree_unflatten([x for _, x in entered], spec)
        result = func(*args, **kwargs)
        for x, node, i in aliases:
            if x.grad_fn is not node:  # the call wrote to it before it took part, as an embedding with max_norm does
                x.register_hook(keep(call.input_gradients, i))
        if func is Tensor.__setitem__:  # returns nothing: its result is the tensor it wrote to
            self._leave(call, args[0])
            self._wrote(call, args[0], version)
            return result
        if call.grad_mode and not in_place and isinstance(result, (tuple, list)):
            # One of several results may be on the way to another inside the function (a cell's c to its h): an
            # alias gets only what comes from outside.
            result = tree_map(lambda x: alias(x) if isinstance(x, Tensor) and x.requires_grad else x, result)
        if makes_number(func) and call.wanted:
            self.calls.append(call)  # where a value leaves the graph as a number
        elif any(isinstance(x, Tensor) for x in tree_flatten(result)[0]):
            self._leave(call, result)
            self._wrote(call, target, version)
        return result

    def _take_data(self, func: Any, tensor: Tensor) -> Tensor:
        """`tensor.data`: the same memory outside autograd's graph, which is a way out of it."""
        call = Call(func, "torch.Tensor.data", self._path.current, here()[0], (Input(0, self.variable(tensor)),), {})
        call.wanted, result = {0}, func(tensor)
        self._leave(call, result)
        return result

    def _leave(self, call: Call, result: Any) -> None:
        position = itertools.count()

        def leave(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            leaf = x.requires_grad and x.is_leaf and id(x) in self._known  # as it was, or written to under no_grad
            slot = Output(next(position), self.variable(x) if leaf else self._new(x))
            if x.grad_fn is not None and call.grad_mode:
                call.differentiable = True
                self._own.add(id(x.grad_fn))
                # At the node, so that what hooks on the tensor did to the gradient is seen as the call saw it.
                x.grad_fn.register_prehook(keep(call.output_gradients, slot.position, x.output_nr))
            return slot

        call.result = tree_map(leave, result)
        self.calls.append(call)

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        self._path.close()
        uses: dict[int, int] = {}
        for call in self.calls:
            for x in call.inputs:
                uses[x.variable] = uses.get(x.variable, 0) + 1
        for call in self.calls:
            several = {x.position for x in call.inputs if uses[x.variable] > 1 or x.variable in self._put}
            call.shared &= several
            for inner in (call, *call.inner):
                inner.scope = None

    def _wrote(self, call: Call, target: Tensor | None, version: int) -> None:
        """Notes that a call wrote to a tensor, which had that version before."""
        if target is not None and target._version != version:
            with torch._C.DisableTorchFunction():
                variable, now = self._known.get(id(target), (-1, -1))
                if now == target._version:
                    self._memory.wrote(target, variable, version)
                    keep_through_view(call, target)

    def _written(self, old: int, version: int, tensor: Tensor) -> int | None:
        """The variable of a tensor whose memory was written to through other ones; None if not all of that was seen.

        It holds what it held, with the elements that were written put in their places.
        """
        writes = self._memory.since(tensor, version)
        for write in writes:
            numbers = places(write.tensor, tensor).reshape(-1)
            inside = numbers >= 0
            taken = self._made(Tensor.take, write.variable, inside.nonzero().reshape(-1))
            old = self._made(Tensor.put, old, numbers[inside], taken)
        if not writes:
            return None
        self._put.add(old)
        return self._name(tensor, old)

    def _made(self, function: Callable, *args: int | Tensor) -> int:
        """The variable of what a function makes of variables and of tensors of integers."""
        made = function(*(self.values[x] if isinstance(x, int) else x for x in args))
        given = tuple(Input(i, x if isinstance(x, int) else self._new(x)) for i, x in enumerate(args))
        variable = self._new(made)
        self._add(
            Call(function, resolve_name(function) or "", self._path.current, here()[0], given, {}, Output(0, variable))
        )
        return variable

    def _add(self, call: Call) -> None:
        """A call that nobody made, by which a tensor came to hold what it holds."""
        call.differentiable = True
        self.calls.append(call)

    def _new(self, tensor: Tensor) -> int:
        self.values.append(tensor.detach().clone())
        return self._name(tensor, len(self.values) - 1)

    def _name(self, tensor: Tensor, variable: int) -> int:
        self._known[id(tensor)] = (variable, tensor._version)
        self._alive.append(tensor)
        if tensor.grad_fn is not None:
            self._edges[id(tensor.grad_fn), tensor.output_nr] = variable
            self._alive.append(tensor.grad_fn)
        return variable

    def _overwritten(self, old: int, leaf: Tensor) -> int:
        """The variable of a tensor that was written to behind autograd's back, as by `leaf.data = ...`."""
        args, new = (Input(0, old), Input(1, self._new(leaf))), self._new(leaf)
        self._add(Call(SET_DATA, "torch.Tensor.data", self._path.current, here()[0], args, {}, Output(0, new)))
        return new

    def _take_custom(self, tensor: Tensor, node: Any, call: Call | None) -> int:
        """The variable of an output of a custom autograd.Function, all of whose calls inside become one call.

        Its forward ran with gradients off, so the calls inside were recorded as constants; the node's
        own hook gives the gradients that its backward received and returned.
        """
        known = self._known.get(id(tensor))
        if call is None:
            call = self._custom[id(node)] = self._custom_call(known[0] if known else -1, node)
        if known is not None:
            call.inside[tensor.output_nr] = known[0]
        variable = self._new(tensor)
        call.result = [*(call.result or []), Output(tensor.output_nr, variable)]
        return variable

    def _custom_call(self, inside: int, node: Any) -> Call:
        function = node._forward_cls
        maker = next((c for c in self.calls if any(o.variable == inside for o in c.outputs)), None)
        scope = maker.scope if maker is not None else None
        path = maker.path if maker is not None else self._path.current
        sources = [self._source(producer, number) for producer, number in node.next_functions]
        slots = [Input(i, v) if v >= 0 else None for i, v in enumerate(sources)]
        given, slot = scope.f_locals["args"] if scope is not None else slots, iter(slots)  # tensors and all others
        args = tuple((next(slot) or x.detach()) if isinstance(x, Tensor) else x for x in given)
        name, source = f"{function.__module__}.{function.__qualname__}", defined(function)
        if function is BackwardHookFunction:  # what torch puts around a module for the sake of such a hook
            name, source = "torch.nn.Module.register_full_backward_hook", here()[0]
        inner, wanted = [c for c in self.calls if c.scope and c.scope is scope], {s.position for s in slots if s}
        if function is CheckpointFunction:  # a backward pass inside its own, which gives the parameters theirs too
            used = {x.variable for c in inner for x in c.inputs} & {*self.leaves.values()} - {*sources}
            args += tuple(itertools.starmap(Input, enumerate(sorted(used), len(slots))))
        call = Call(function, name, path, source, args, {})
        call.inner, call.wanted, call.differentiable = inner, wanted, True
        self.calls = [c for c in self.calls if c not in call.inner] + [call]

        def store(grad_inputs: tuple, grad_outputs: tuple) -> None:
            for gradients, seen in ((call.input_gradients, grad_inputs), (call.output_gradients, grad_outputs)):
                gradients.update({i: g.detach().clone() for i, g in enumerate(seen) if g is not None})

        node.register_hook(store)
        return call

    def _source(self, producer: Any, number: int) -> int:
        """The variable that an edge of autograd's graph leads to; -1 where it leads to none."""
        leaf = getattr(producer, "variable", None)
        return self.variable(leaf) if leaf is not None else self._edges.get((id(producer), number), -1)

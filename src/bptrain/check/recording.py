"""A recording: one forward and backward pass of a model, kept on a tape with autograd's gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from bptrain.check.autocast import OFF, Autocast
from bptrain.check.promotion import promoted
from bptrain.check.tolerance import roundoff
from bptrain.errors import Problem, RequestError
from bptrain.reference.backprop import added
from bptrain.reference.call import Call
from bptrain.reference.draws import Draws, kept, seed_all
from bptrain.reference.dtype import cast, is_continuous
from bptrain.reference.tape import Tape


@dataclass
class Recording:
    """What autograd did with a copy of the model; the model itself, its generators and gradients stay as they are.

    `seeds` holds the gradients that the backward pass started from, by variable: 1 for a loss, a random
    cotangent for each output without one. `gradients` are autograd's, by name of parameter or input, None
    where it has none. `dtype` is the coarsest that anything differentiated was in: its rounding is what shows.
    """

    tape: Tape
    model: Callable[..., Any]  # the copy, with its buffers as the forward pass left them
    dtype: torch.dtype
    ends: list[int]  # the variables that the backward pass started from
    seeds: dict[int, Tensor]
    gradients: dict[str, Tensor | None]
    inputs: set[str]  # the names in `gradients` that are inputs
    after: Draws  # the generators after the forward pass

    def dtype_of(self, call: Call) -> torch.dtype:
        """The coarsest dtype among what a call differentiates and makes, which under autocast need not be one."""
        return self.dtype if self.dtype is torch.float64 else _coarsest(_differentiated(self.tape, call), self.dtype)


def record(
    model: Callable[..., Any],
    inputs: tuple[Any, ...],
    targets: Any,
    loss: Callable[[Any, Any], Tensor] | None,
    dtype: torch.dtype | None,
    seed: int,
    draws: Draws | None = None,
    autocast: Autocast = OFF,
) -> Recording:
    """Runs a copy of the model forward and backward in `dtype` (None: as it is).

    Its random draws are those that follow `draws`, or those of a fresh generator seeded with `seed`.
    """
    model, loss = _copy(model, dtype), _copy(loss, dtype)
    given, leaves = entered(inputs, dtype)
    targets = tree_map(lambda x: _cast(x, dtype), targets)
    parameters = dict(model.named_parameters()) if isinstance(model, nn.Module) else {}
    for parameter in parameters.values():
        parameter.grad = None
    tape = Tape(model if isinstance(model, nn.Module) else None)
    for name, leaf in leaves.items():
        tape.leaf(name, leaf)
    with kept(), torch.enable_grad():
        seed_all(seed)
        if draws is not None:
            draws.restore()
        with tape, promoted() if dtype is torch.float64 else autocast.on():
            output = model(*given)
            ends = ends_of(output if loss is None else loss(output, targets))
            variables = [tape.variable(end) for end in ends]
        after = Draws.now()
        if not ends:
            raise RequestError(Problem("model", "gives no output with a gradient.", "Nothing can be checked."))
        starts = starts_of(ends, loss is None, seed)
        with _gradients_kept(ends, but=[*parameters.values(), *leaves.values()]):
            torch.autograd.backward(ends, starts)
    wanted = {name: p for name, p in parameters.items() if p.requires_grad} | leaves
    gradients = {name: leaf.grad if leaf.grad is None else leaf.grad.to_dense() for name, leaf in wanted.items()}
    used = torch.float64
    if dtype is not torch.float64:
        differentiated = [t for call in tape.calls if call.wanted for t in _differentiated(tape, call)]
        casts = [call.autocast for call in tape.calls if call.autocast is not None and call.wanted]
        used = max([_coarsest([*wanted.values(), *ends, *differentiated], torch.float64), *casts], key=roundoff)
    seeds = added(zip(variables, starts, strict=True))
    return Recording(tape, model, used, variables, seeds, gradients, set(leaves), after)


def entered(inputs: tuple[Any, ...], dtype: torch.dtype | None) -> tuple[list[Any], dict[str, Tensor]]:
    """Copies of a model's inputs in `dtype` (None: as they are), and by name those that a gradient is wanted of."""
    names = ["input"] if len(inputs) == 1 else [f"input[{i}]" for i in range(len(inputs))]
    given = [_cast(x, dtype) for x in inputs]
    continuous = {n: x for n, x in zip(names, given, strict=True) if isinstance(x, Tensor) and is_continuous(x)}
    return given, {name: x.requires_grad_() for name, x in continuous.items()}


def ends_of(result: Any) -> list[Tensor]:
    """Where the backward pass can start from."""
    return [x for x in tree_flatten([result])[0] if isinstance(x, Tensor) and x.requires_grad]


def starts_of(ends: list[Tensor], random: bool, seed: int) -> list[Tensor]:
    """The gradients that it starts with: random cotangents, alike in every dtype, or 1."""
    if not random:
        return [torch.ones_like(end) for end in ends]
    generator, found = torch.Generator().manual_seed(seed), []
    for end in ends:
        dtype = torch.complex128 if end.is_complex() else torch.float64
        found.append(torch.randn(end.shape, generator=generator, dtype=dtype).to(end))
    return found


def _differentiated(tape: Tape, call: Call) -> list[Tensor]:
    """What gradients pass through in a call: inputs that want one, and results, those inside a custom Function too."""
    given = [tape.values[x.variable] for x in call.inputs if x.position in call.wanted]
    return given + [tape.values[o.variable] for made in (call, *call.inner) for o in made.outputs]


@contextmanager
def _gradients_kept(ends: list[Tensor], but: list[Tensor]) -> Iterator[None]:
    """A callable may close over parameters that could not be copied: their `grad` is afterwards what it was."""
    own, seen, leaves = set(map(id, but)), set(), []
    nodes = [end.grad_fn for end in ends]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable") and id(node.variable) not in own:
            leaves.append(node.variable)
        nodes += [producer for producer, _ in node.next_functions]
    before = [(leaf, leaf.grad) for leaf in leaves]
    for leaf, _ in before:
        leaf.grad = None
    yield
    for leaf, gradient in before:
        leaf.grad = gradient


def _copy(model: Any, dtype: torch.dtype | None) -> Any:
    if not isinstance(model, nn.Module):
        return model
    if any(nn.parameter.is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise RequestError(Problem("model", "has lazy parameters without a shape.", "Call it once before the check."))
    try:
        copied = copy.deepcopy(model)
    except RuntimeError as error:  # it keeps a tensor of an earlier forward pass, which has a graph
        raise RequestError(Problem("model", f"can't be copied: {error}")) from error
    return copied._apply(lambda t: cast(t, dtype)) if dtype is not None else copied


def _cast(x: Any, dtype: torch.dtype | None) -> Any:
    if not isinstance(x, Tensor):
        return x
    return x.detach().clone() if dtype is None else cast(x.detach(), dtype)


def _coarsest(tensors: list[Tensor], default: torch.dtype) -> torch.dtype:
    """The coarsest floating dtype among some tensors; `default` among none."""
    return max((t.dtype.to_real() for t in tensors if is_continuous(t)), key=roundoff, default=default)

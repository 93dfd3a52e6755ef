"""Compiled: a torch.compile'd model beside the same code run eagerly, to say whether compiler or model is at fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.check.autocast import Autocast
from bptrain.check.recording import Recording, ends_of, entered, starts_of
from bptrain.check.tolerance import GradientError, compare
from bptrain.check.verdict import UNVERIFIED, failed
from bptrain.reference.draws import kept, seed_all
from bptrain.reference.dtype import cast
from bptrain.reference.rule import rule_for

OUTPUT = "output"


def eagerly(compiled: bool) -> AbstractContextManager:
    """Inside, what was compiled runs as the Python that it was made of."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def eager(model: Any) -> Any:
    """A model without torch.compile's wrapper, which would show in the names of its parameters."""
    return getattr(model, "_orig_mod", model)


def is_compiled(*parts: Any) -> bool:
    """Whether torch.compile made any of these callables, or a module inside one."""
    modules = [module for part in parts if isinstance(part, nn.Module) for module in part.modules()]
    marks = ("_torchdynamo_orig_callable", "_orig_mod", "_compiled_call_impl")
    return any(getattr(part, mark, None) is not None for part in (*parts, *modules) for mark in marks)


def check_compiled(
    model: Callable[..., Any],
    inputs: tuple[Any, ...],
    targets: Any,
    loss: Callable[[Any, Any], Tensor] | None,
    seed: int,
    exact: Recording,
    own: Recording,
    autocast: Autocast,
) -> dict[str, GradientError]:
    """How far the gradients and the outputs of the compiled model are off, by name.

    `exact` and `own` are recordings of the same code run eagerly, which the reference found right. The model itself
    runs, since a copy would be compiled anew; its gradients and buffers are afterwards what they were.
    """
    if any(rule is not None and rule.random for rule in (rule_for(call.function) for call in own.tape.calls)):
        why = "compiled code draws other random numbers than eager code"
        return {OUTPUT: GradientError(math.nan, 0.0, UNVERIFIED, fault=why)}
    given, leaves = entered(inputs, None)
    parameters = dict(eager(model).named_parameters()) if isinstance(model, nn.Module) else {}
    with _restored(model), kept(), torch.enable_grad():
        seed_all(seed)
        with autocast.on():
            output = model(*given)
            ends = ends_of(output if loss is None else loss(output, targets))
        torch.autograd.backward(ends, starts_of(ends, loss is None, seed))
        gradients = {n: p.grad for n, p in {**parameters, **leaves}.items() if p.requires_grad}
    errors = {}
    for name, theirs in gradients.items():
        right = exact.gradients[name]
        if right is not None or theirs is not None:
            errors[name] = _compare(theirs, right, own.gradients[name], own.dtype)
    for number, (end, variable, true) in enumerate(zip(ends, own.ends, exact.ends, strict=True)):
        name = OUTPUT if len(ends) == 1 else f"{OUTPUT}[{number}]"
        errors[name] = _compare(end.detach(), exact.tape.values[true], own.tape.values[variable], own.dtype)
    return errors


def _compare(theirs: Tensor | None, right: Tensor | None, eager: Tensor | None, dtype: torch.dtype) -> GradientError:
    """A compiled value against the exact one; rounding is what eager code in the same dtype is off by."""
    like = next(t for t in (right, theirs) if t is not None)
    right = cast(torch.zeros_like(like) if right is None else right, torch.float64)
    again = [] if eager is None else [(eager, 1.0)]
    error = compare(theirs, right, lambda: again, dtype)
    if not failed(error.verdict):
        return error
    who = "run eagerly it is right: the compiler is at fault"
    return replace(error, fault=f"{error.fault}; {who}" if error.fault else who)


@contextmanager
def _restored(model: Any) -> Iterator[None]:
    """Afterwards the gradients and buffers of a model are what they were."""
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    buffers = list(model.buffers()) if isinstance(model, nn.Module) else []
    before = [p.grad for p in parameters], [b.clone() for b in buffers]
    for p in parameters:
        p.grad = None
    try:
        yield
    finally:
        for p, gradient in zip(parameters, before[0], strict=True):
            p.grad = gradient
        with torch.no_grad():
            for buffer, value in zip(buffers, before[1], strict=True):
                buffer.copy_(value)

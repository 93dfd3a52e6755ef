"""Update: what one step of an optimizer does to a parameter and its state, and the registry that finds it.

An update is written by hand from the formula and runs without torch.optim and without autograd.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from bptrain.reference.elementary import Elementary

State = dict[str, Any]
Options = dict[str, Any]
# Loss and gradients at given parameters: what an optimizer that looks about asks for.
Evaluate = Callable[[tuple[Tensor, ...]], tuple[float, tuple[Tensor, ...]]]

_REGISTRY: dict[type, type[Update]] = {}
# How torch computes a step, not what the step is.
IMPLEMENTATION = frozenset({"foreach", "fused", "capturable", "differentiable"})


class Sparse(NamedTuple):
    """The elements of a gradient that are stored, each place once: indices (sparse axes, N), values (N, *rest)."""

    indices: Tensor
    values: Tensor


class Update:
    """The hand-written step of the optimizers in `optimizers`.

    cases() -> option dicts for the tests, each option of the optimizer at least once away from its default.
    start(w, **options) -> the state before the first step, in the dtype of `w`.
    step(w, g, state, **options) -> w, state
        Pure: new tensors of the shapes of the old. `state` has torch's names for its entries; numbers are tensors
        of no axes, which keep their dtype, since torch rounds them to it. `options` are those of the group, by name.
    concrete(options, dtype) -> options, where one depends on the dtype of the parameter.

    With `closure=True` step takes a tuple of parameters and an Evaluate in place of `w` and `g`. With `sparse=True`
    the gradient is a Sparse. `mixes` says that each element of a result is made of many, so that it is rounded as the
    greatest of them. `given` names the entries of the state after a step that `step` gets as options: what a search
    found, which is judged by what it had to satisfy.
    violated(parameters, evaluate, state, **options) -> the condition that they break, in words, or nothing.
    """

    optimizers: ClassVar[tuple[type, ...]] = ()
    closure: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    given: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(
        cls,
        optimizers: Iterable[type] = (),
        closure: bool = False,
        sparse: bool = False,
        mixes: bool = False,
        given: tuple[str, ...] = (),
    ) -> None:
        cls.optimizers, cls.given = tuple(optimizers), given
        cls.closure, cls.sparse, cls.mixes = closure, sparse, mixes
        for optimizer in cls.optimizers:
            if optimizer in _REGISTRY:
                raise TypeError(f"{optimizer} has two updates: {_REGISTRY[optimizer].__name__} and {cls.__name__}")
            _REGISTRY[optimizer] = cls

    @staticmethod
    def cases() -> Iterable[Options]:
        return ()

    @staticmethod
    def concrete(options: Options, dtype: torch.dtype) -> Options:
        return options

    # Each update names its own options, so no one signature can stand here.
    start: ClassVar[Callable[..., State]]
    step: ClassVar[Callable[..., tuple[Any, State]]]
    violated: ClassVar[Callable[..., str]]


def update_for(optimizer: type) -> type[Update] | None:
    """The update that explains a class of optimizers, or the nearest class that it derives from; else None."""
    _load()
    return next((_REGISTRY[base] for base in optimizer.__mro__ if base in _REGISTRY), None)


def all_updates() -> list[type[Update]]:
    """Every update there is, in order of module and definition."""
    _load()
    return list(dict.fromkeys(_REGISTRY.values()))


@functools.cache
def _load() -> None:
    from bptrain.reference import optimizers

    for module in pkgutil.iter_modules(optimizers.__path__):
        importlib.import_module(f"{optimizers.__name__}.{module.name}")


def option_names(update: type[Update]) -> frozenset[str]:
    """The options that `step` knows."""
    parameters = inspect.signature(update.step).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)


def run_step(
    update: type[Update],
    parameters: tuple[Tensor, ...],
    gradient: Tensor | Evaluate | None,
    state: State,
    options: Options,
) -> tuple[tuple[Tensor, ...], State]:
    """`update.step` with autograd off and only elementary operations; without a gradient nothing changes.

    `parameters` is one, or all of the group where the update asks for a closure. An empty state is started.
    """
    if gradient is None:
        return parameters, state
    first, pull = parameters[0], _form(update, gradient)
    with torch.no_grad(), Elementary():
        state = state or update.start(first, **options)
        if update.closure:
            return update.step(parameters, pull, state, **options)
        w, state = update.step(first, pull, state, **options)
    return (w,), state


def _form(update: type[Update], gradient: Any) -> Any:
    """The gradient in the form that the update takes."""
    if update.closure:

        def evaluate(parameters: tuple[Tensor, ...]) -> tuple[float, tuple[Tensor, ...]]:
            with _disable_current_modes():  # the model may use any operation
                return gradient(parameters)

        return evaluate
    if not gradient.is_sparse:
        return gradient
    if not update.sparse:
        return gradient.to_dense()
    gradient = gradient.coalesce()  # the update is not linear: a place that is named twice counts once
    return Sparse(gradient.indices(), gradient.values())


def descent(w: Tensor, g: Tensor, weight_decay: float, maximize: bool) -> Tensor:
    """The gradient of what is minimised: g, or -g to `maximize`, plus that of weight_decay |w|^2 / 2."""
    g = -g if maximize else g
    return g + weight_decay * w if weight_decay else g


def counted(state: State) -> tuple[float, Tensor]:
    """The number t = 1, 2, ... of this step, as a float and as the entry `step` that says so."""
    t = float(state["step"]) + 1
    return t, torch.full_like(state["step"], t)


def zeros(w: Tensor, *names: str) -> Iterator[tuple[str, Tensor]]:
    """A state of zeros: `step`, a number, and the entries named, of the shape of `w`."""
    yield "step", w.new_zeros(())
    yield from ((name, torch.zeros_like(w)) for name in names)

"""check_optimizer: the steps of a torch optimizer against the update written by hand."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from bptrain.check.optimizer_report import EntryReport, OptimizerReport
from bptrain.check.update import EntryError, Gradient, Key, compare_step, slots, uncovered, with_given
from bptrain.check.update_fault import fault
from bptrain.check.verdict import VERIFIED, WRONG
from bptrain.reference.update import Update, update_for

UNSTEPPED = 3  # the step at which one of several parameters is left without a gradient
ITERATIONS = 5  # the most that a step with a closure makes: the more, the more they multiply rounding


def check_optimizer(
    optimizer: Optimizer, named_parameters: Iterable[tuple[str, Tensor]] = (), *, steps: int = 5, seed: int = 0
) -> OptimizerReport:
    """Takes steps on random gradients and compares each with the hand-written update of the optimizer's class.

    The class is that of `optimizer` or the nearest one of torch.optim that it derives from. Each step is judged from
    the state before it, first that of now: parameters and state are copied, and stay as they are. A float64 copy
    gives the verdict on the mathematics, a copy in the parameters' own dtype that on what computes it.
    Gradients span five powers of ten, with zeros among them; at step 3 the last of several parameters has none. An
    optimizer that takes a closure gets a new random function to minimise at each step, and 5 iterations at the most.
    `named_parameters`, as `model.named_parameters()`, gives the names in the report.
    """
    update, title = update_for(type(optimizer)), type(optimizer).__name__
    note = uncovered(optimizer, update)
    if update is None or note:
        return OptimizerReport(title, steps, note=note)
    names = names_of(optimizer, named_parameters)
    entries: dict[Key, EntryReport] = {}
    for dtype in (torch.float64, None):
        found = _steps(_twin(optimizer, dtype), update, names, steps, torch.Generator().manual_seed(seed))
        entries |= {key: e for key, e in found.items() if key not in entries or entries[key].verdict == VERIFIED}
    undecided = "" if entries else "rounding decides which way its steps go"
    return OptimizerReport(title, steps, list(entries.values()), undecided)


def _steps(
    optimizer: Optimizer, update: type[Update], names: list[list[str]], steps: int, generator: torch.Generator
) -> dict[Key, EntryReport]:
    """A report for every entry, of its first wrong step or of its worst."""
    found: dict[Key, EntryReport] = {}
    for step in range(1, steps + 1):
        before = slots(optimizer, update, names)
        gradients: list[Gradient] = []
        for slot in before:
            bare = step == UNSTEPPED and len(before) > 1 and slot is before[-1]
            gradients.append(None if bare else _gradient(update, slot.parameters, generator))
        _take(optimizer, update, gradients)
        after = slots(optimizer, update, names)
        for start, gradient, new in zip(before, gradients, after, strict=True):
            old = with_given(update, start, new)
            for key, error in compare_step(update, old, gradient, new, generator).items():
                known = found.get(key)
                if known is None or (known.verdict == VERIFIED and (error.wrong or error.ulps > known.ulps)):
                    words = fault(update, old, gradient, new, key) if error.wrong else ""
                    found[key] = entry_report(key, step, error, words)
    return found


def entry_report(key: Key, step: int, error: EntryError, words: str) -> EntryReport:
    verdict, dtype = WRONG if error.wrong else VERIFIED, str(error.dtype).removeprefix("torch.")
    return EntryReport(*key, verdict, step, error.ulps, error.explained, error.bias, error.bias_explained, dtype, words)


def _take(optimizer: Optimizer, update: type[Update], gradients: list[Gradient]) -> None:
    """One step of the optimizer on these gradients, one for each slot."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not update.closure:
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient
        optimizer.step()
        return
    objective = gradients[0]
    assert callable(objective)

    def closure() -> float:
        with torch.no_grad():
            loss, found = objective(tuple(parameters))
        for p, gradient in zip(parameters, found, strict=True):
            p.grad = gradient
        return loss

    optimizer.step(closure)


def _gradient(update: type[Update], parameters: tuple[Tensor, ...], generator: torch.Generator) -> Gradient:
    """Random numbers in the form that the update takes; drawn alike for every dtype."""

    def draw(shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    if update.closure:
        centres, slopes = [w + draw(w.shape).to(w) for w in parameters], [draw(w.shape).to(w) for w in parameters]
        return Objective(tuple(centres), tuple(slopes))
    w = parameters[0]
    size = 10 ** (-5 * torch.rand(w.shape, generator=generator, dtype=torch.float64))
    kept = torch.rand(w.shape, generator=generator) > 0.1
    g = (draw(w.shape) * size * kept).to(w)
    return g.to_sparse(1) if update.sparse else g


@dataclass(frozen=True)
class Objective:
    """f = sum of (1 + b^2) (w - c)^2 / 2 + 1 - cos(w - c), whose gradient is (1 + b^2) (w - c) + sin(w - c)."""

    centres: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]

    def __call__(self, parameters: tuple[Tensor, ...]) -> tuple[float, tuple[Tensor, ...]]:
        loss, gradients = 0.0, []
        for w, c, b in zip(parameters, self.centres, self.slopes, strict=True):
            x, steep = w - c.to(w.dtype), 1 + b.to(w.dtype) ** 2
            loss += (steep * x * x / 2 + 1 - x.cos()).sum().item()
            gradients.append(steep * x + x.sin())
        return loss, tuple(gradients)


def _twin(optimizer: Optimizer, dtype: torch.dtype | None) -> Optimizer:
    """A copy with parameters of its own, its numbers cast to `dtype`.

    Hooks stay behind, and so does the `step` that a scheduler wraps: they belong to the original.
    """
    kept = {k: v for k, v in vars(optimizer).items() if k != "step" and not k.endswith("hooks")}
    twin = object.__new__(type(optimizer))
    twin.__setstate__(copy.deepcopy(kept))
    for group in twin.param_groups:
        if "max_iter" in group:
            group["max_iter"] = min(group["max_iter"], ITERATIONS)
        for p in group["params"]:
            p.data = p.data.to(dtype or p.dtype)
            if dtype is not None and p in twin.state:
                twin.state[p] = {k: v if k == "step" else _cast(v, dtype) for k, v in twin.state[p].items()}
    return twin


def _cast(value: object, dtype: torch.dtype) -> object:
    """The floating tensors in an entry of the state in `dtype`."""
    return tree_map(lambda v: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v, value)


def names_of(optimizer: Optimizer, named_parameters: Iterable[tuple[str, Tensor]]) -> list[list[str]]:
    """A name for each parameter, by group."""
    given = {id(parameter): name for name, parameter in named_parameters}
    return [
        [
            given.get(id(p)) or (group["param_names"][j] if "param_names" in group else f"group {i}, parameter {j}")
            for j, p in enumerate(group["params"])
        ]
        for i, group in enumerate(optimizer.param_groups)
    ]

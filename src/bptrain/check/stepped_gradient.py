"""The gradient that an optimizer steps with: those of the batches, accumulated and clipped by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bptrain.check.tolerance import FACTOR, HALF_DEVIATIONS, GradientError, compare, roundoff
from bptrain.check.verdict import failed
from bptrain.reference.accumulation import accumulate
from bptrain.reference.clipping import clip_by_norm

Gradients = dict[str, Tensor | None]  # by name of the parameter
LIKENESS = 1e-2  # how near, relatively, gradients are to those that explain them


@dataclass(frozen=True)
class SteppedGradient:
    """How far each parameter's gradient is off, by name; with clipping also the factor, which is `factor` by hand.

    `fault` says what was done instead, where that can be told.
    """

    parameters: dict[str, GradientError]
    clip: GradientError | None = None
    factor: float = 1.0
    fault: str = ""


def compare_stepped(
    theirs: Gradients,
    parts: Sequence[Gradients],
    sizes: Sequence[int],
    clip: float | None,
    stale: Gradients,
    exactly: Callable[[], Sequence[Gradients]] | None,
    coarsest: torch.dtype | None = None,
) -> SteppedGradient:
    """The gradients that the optimizer got, against the mean over all rows of those of the batches, clipped.

    `parts` has the gradients of each batch's own mean, `sizes` their rows, `stale` what stood in the parameters
    before. The gradients of `parts` are verified elsewhere: what is judged here is what was made of them, and that
    to the rounding of the parameters' own dtype, whatever the forward pass was computed in. `exactly` gives them
    without rounding, and is asked where the two differ: an engine's own kernels may come nearer to that than `parts`.
    Where they may also round elsewhere in a half precision, that is `coarsest`: then each gradient must still have the
    length that is right, and not be what another way of taking the mean would give.
    """
    theirs = {name: g if g is None else g.to_dense() for name, g in theirs.items()}
    like = {name: g for gradients in (*parts, theirs) for name, g in gradients.items() if g is not None}

    def row(gradients: Gradients) -> list[Tensor]:
        given = [gradients.get(name) for name in like]
        return [torch.zeros_like(z) if g is None else g for g, z in zip(given, like.values(), strict=True)]

    def double(gradients: Gradients) -> list[Tensor]:
        return [g.double() for g in row(gradients)]

    exact = [double(part) for part in parts]
    mean, again, given, factor = accumulate(exact, sizes), accumulate(list(map(row, parts)), sizes), double(theirs), 1.0
    right = mean
    if clip is not None:
        right, _, by = clip_by_norm(mean, clip)
        again, factor = clip_by_norm(again, clip)[0], by.item()
    errors = {
        name: compare(g, r, lambda a=a: [(a, 1.0)], a.dtype)  # type: ignore[misc]
        for name, g, r, a in zip(like, given, right, again, strict=True)
    }
    others = _others(exact, mean, sizes, clip, double(stale))
    if (
        exactly
        and any(failed(error.verdict) for error in errors.values())
        and (
            coarsest is None
            or not (
                any(_longer(g, r) for g, r in zip(given, right, strict=True)) or _fault(given, right, others) in others
            )
        )
    ):
        true = accumulate([double(part) for part in exactly()], sizes)
        true = true if clip is None else clip_by_norm(true, clip)[0]
        for name, g, r, a in zip(like, given, true, again, strict=True):
            if failed(errors[name].verdict):
                errors[name] = compare(g, r, lambda a=a: [(a, 1.0)], coarsest or a.dtype)  # type: ignore[misc]
    clipping = None
    if clip is not None:
        found, ours = torch.tensor(_ratio(given, mean)), torch.tensor(factor, dtype=torch.float64)
        clipping = compare(found, ours, list, torch.float32)
    wrong = any(failed(error.verdict) for error in errors.values())
    fault = _fault(given, right, others) if wrong else ""
    return SteppedGradient(errors, clipping, factor, fault)


def _others(
    parts: list[list[Tensor]], mean: list[Tensor], sizes: Sequence[int], clip: float | None, stale: list[Tensor]
) -> dict[str, list[Tensor]]:
    """What may have been made of the gradients instead, by the words for it."""
    weighted = {
        "the gradients of the step before were kept": [m + s for m, s in zip(mean, stale, strict=True)],
        "each batch counts the same, whatever its rows": accumulate(parts, [1] * len(parts)),
        "the gradients of the batches were added up, not averaged": [
            len(parts) * g for g in accumulate(parts, [1] * len(parts))
        ],
        "the last batch alone counts": [g * (sizes[-1] / sum(sizes)) for g in parts[-1]],
    }
    if clip is None:
        return weighted
    return {words: clip_by_norm(gradients, clip)[0] for words, gradients in weighted.items()} | {
        "they were not clipped": mean,
        "each parameter was clipped by itself": [clip_by_norm([g], clip)[0][0] for g in mean],
    }


def _fault(given: list[Tensor], right: list[Tensor], others: dict[str, list[Tensor]]) -> str:
    """The words for what `given` is, and `right` is not."""

    def distance(gradients: list[Tensor]) -> float:
        return ((_flat(given) - _flat(gradients)).norm() / _flat(given).norm()).item()

    ratio = _ratio(given, right)
    scaled = distance([ratio * g for g in right])
    likeliest = min(others, key=lambda words: distance(others[words]))
    nearest = distance(others[likeliest])
    if nearest <= LIKENESS and nearest < distance(right) / 2 and nearest <= 2 * scaled + torch.finfo(torch.float32).eps:
        return likeliest
    return f"they are {ratio:.6g} times what they should be" if scaled <= LIKENESS else ""


def _longer(given: Tensor, right: Tensor) -> bool:
    """Whether `given` is longer or shorter than `right` by more than errors of its size give by chance."""
    x, ratio = right.reshape(-1), _ratio([given], [right])
    if not x.any():
        return False
    rest = given.reshape(-1) - ratio * x
    by_chance = (rest * x).norm() / x.dot(x)  # the deviation of the ratio, whatever that of each element is
    return abs(ratio - 1) > HALF_DEVIATIONS * by_chance.item() + FACTOR[torch.float32] * roundoff(torch.float32)


def _ratio(given: list[Tensor], gradients: list[Tensor]) -> float:
    """The factor by which the gradients come nearest to `given`."""
    x = _flat(gradients)
    return (_flat(given).dot(x) / x.dot(x)).item() if x.any() else 1.0


def _flat(gradients: list[Tensor]) -> Tensor:
    return torch.cat([g.reshape(-1) for g in gradients])

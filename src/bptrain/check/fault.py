"""How a wrong gradient differs from the right one, in a few words that are true of it.

A kind of fault is said where it leaves no more than rounding to explain, and at the most a quarter of the error that
there was. The kinds with nothing to fit stand first (zero, sign, transposed), then those with one number, then those
with a number for each row. `allowed` stands for the absolute error that rounding explains. A "row" of an axis is what
lies at one index of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

SLACK = 2.0  # what a factor that was fitted adds to rounding
INFORMATIVE = 3  # the fewest elements that a factor must explain, and rows that must have moved
REACH = 4  # the longest shift tried
PAIRS = 2**24  # the most numbers compared to find out where each row went
FLOOR = 1e-14  # rounding of float64, relative to the largest element
SURE = 8.0  # standard errors

Kind = Callable[[Tensor, Tensor, float], str]


def fault(theirs: Tensor | None, ours: Tensor, allowed: float) -> str:
    """In what way a gradient of autograd, None for none at all, is not that of the reference; empty where nothing fits.

    `allowed` is the largest absolute error of an element that rounding explains.
    """
    if theirs is None:
        return "there is none"
    if words := unlike(theirs, ours):
        return words
    if not ours.numel() or not ours.isfinite().all():
        return ""
    given, slack = theirs.to(ours.dtype), max(allowed, FLOOR * _largest(ours))
    kinds = KINDS if _off(given, ours, slack).any() else (_average,)
    return next(filter(None, (kind(given, ours, slack) for kind in kinds)), "")


def unlike(theirs: Tensor, ours: Tensor) -> str:
    """What keeps two tensors from being compared: their shapes, a complex one beside a real one, NaN and infinities."""
    if theirs.shape != ours.shape:
        turned = ", that of its transpose" if ours.dim() > 1 and theirs.shape == ours.mT.shape else ""
        return f"its shape is {tuple(theirs.shape)}{turned}"
    if theirs.is_complex() != ours.is_complex():
        return "it is complex" if theirs.is_complex() else "it is real"
    for name, found in (("NaN", theirs.isnan() & ~ours.isnan()), ("infinite", theirs.isinf() & ~ours.isinf())):
        if found.any():
            return _counted(found, "{} " + name)
    finite = theirs.isfinite() & ~ours.isfinite()
    return _counted(finite, "{} finite where NaN or infinity is right") if finite.any() else ""


def _zero(given: Tensor, right: Tensor, slack: float) -> str:
    if _largest(right) <= slack:  # the kinds after this one but for the last ones have nothing to go by
        added = _added(given, right, slack)
        return added or _few(given, right, slack) or ("it should be zero" if _largest(given) > 4 * slack else "")
    if not given.any():
        return "it is zero"
    return "it is zero but for rounding" if _fits(given, torch.zeros_like(right), right, slack / SLACK) else ""


def _single(given: Tensor, right: Tensor, slack: float) -> str:
    off = _off(given, right, slack)
    if off.numel() < 2 or off.sum() != 1:
        return ""
    zero = given[off].abs().item() <= slack < right[off].abs().item() / 4
    return _counted(off, "{} off") + (", where it is zero" if zero else "")


def _whole(given: Tensor, right: Tensor, slack: float) -> str:
    """Another arrangement or sign of all the elements."""
    for words, claim in _arrangements(right):
        if _fits(given, claim, right, slack):
            return words
    return ""


def _arrangements(right: Tensor) -> Iterator[tuple[str, Tensor]]:
    yield "its sign is wrong", -right
    if right.is_complex():
        yield "it is the complex conjugate of what it should be", right.conj()
    for a, b in itertools.combinations(range(right.dim()), 2):
        if right.shape[a] == right.shape[b]:
            yield "it is transposed" if right.dim() == 2 else f"axes {a} and {b} are swapped", right.transpose(a, b)
    for axis in _axes(right, INFORMATIVE):
        yield f"axis {axis} is in reverse order", right.flip(axis)


def _scaled(given: Tensor, right: Tensor, slack: float) -> str:
    if (right.abs() > slack).sum() < INFORMATIVE:
        return ""
    factor, _ = _regression(given, right)
    if not _fits(given, factor * right, right, slack * max(1.0, abs(factor))):
        return ""
    return f"it is scaled by {_factor(factor, right.shape, slack / _largest(right))}"


def _average(given: Tensor, right: Tensor, slack: float) -> str:
    """An error below the rounding of each element that all of them have in common."""
    if not right.any():
        return ""
    factor, doubt = _regression(given, right)
    return f"it is scaled by {_number(factor)} on average" if abs(factor - 1) > SURE * doubt else ""


def _regression(given: Tensor, right: Tensor) -> tuple[complex, float]:
    """The factor of least squares and its standard error."""
    size = _largest(right)  # so that no square overflows or vanishes
    unit, other = right / size, given / size
    square = (unit.abs() ** 2).sum()
    factor = (unit.conj() * other).sum() / square
    return factor.item(), ((other - factor * unit).abs().square().mean() / square).sqrt().item()


def _factor(factor: complex, shape: torch.Size, slack: float) -> str:
    """The factor, and whose length it is or is one over: a sum in place of a mean, or a mean in place of a sum."""
    lengths = [(n, f"the length of axis {axis}") for axis, n in enumerate(shape)]
    for length, name in [*lengths, (math.prod(shape), "the number of its elements")]:
        if length < 2:
            continue
        for known, words in ((length, f"{length}, {name}"), (1 / length, f"1/{length}, one over {name}")):
            if abs(factor - known) <= min(SLACK * slack * max(1.0, known), known / 100):
                return words
    return _number(factor)


def _added(given: Tensor, right: Tensor, slack: float) -> str:
    constant = (given - right).mean()
    if given.numel() < INFORMATIVE or not _fits(given, right + constant, right, slack):
        return ""
    return f"{constant.item():.3g} is added to each element"


def _missing(given: Tensor, right: Tensor, slack: float) -> str:
    """Rows or elements that are zero, the others right."""
    for axis in _axes(right, 2):
        rows, gone = _rows(_off(given, right, slack), axis).any(1), _rows(given.abs() <= slack, axis).all(1)
        if rows.numel() < right.numel() and gone[rows].all() and not rows.all():
            return f"{_named(rows, axis)} missing"
    off = _off(given, right, slack)
    if (given[off].abs() <= slack).all() and not off.all():
        negative = not right.is_complex() and torch.equal(off, right < -slack)
        return _counted(off, "{} zero") + (", all that should be negative" if negative else "")
    return ""


def _signs(given: Tensor, right: Tensor, slack: float) -> str:
    off = _off(given, right, slack)
    turned = _fits(given[off], -right[off], right[off], slack) and off.sum() >= INFORMATIVE
    return _counted(off, "{} of the wrong sign") if turned else ""


def _shifted(given: Tensor, right: Tensor, slack: float) -> str:
    """All rows at another index; what came in at the end may be anything."""
    for axis in _axes(right, INFORMATIVE):
        length = right.shape[axis]
        for by in itertools.chain.from_iterable((s, -s) for s in range(1, min(REACH, length // 2) + 1)):
            kept = length - abs(by)
            here, there = max(by, 0), max(-by, 0)
            moved = given.narrow(axis, here, kept)
            at, was = right.narrow(axis, here, kept), right.narrow(axis, there, kept)
            if _fits(moved, was, at, slack) and _off(moved, at, slack).sum() >= INFORMATIVE:
                return f"it is shifted by {by} along axis {axis}"
    return ""


def _permuted(given: Tensor, right: Tensor, slack: float) -> str:
    """Each wrong row is one other wrong row, the only one that is near to it."""
    for axis in _axes(right, 2):
        rows = _rows(_off(given, right, slack), axis).any(1)
        moved = int(rows.sum())
        if moved < 2 or moved**2 * (right.numel() // right.shape[axis]) > PAIRS:
            continue
        found, wanted = (_parts(_rows(x, axis)[rows]) for x in (given, right))
        apart, place = torch.cdist(found, wanted, p=math.inf).topk(2, dim=1, largest=False)
        near, other = apart.T
        distinct = place[:, 0].unique().numel() == moved
        if distinct and near.max() <= slack and (other > 4 * slack).all() and moved * found.shape[1] >= INFORMATIVE:
            return f"{_named(rows, axis)} " + ("swapped" if moved == 2 else "in another order")
    return ""


def _factors(given: Tensor, right: Tensor, slack: float) -> str:
    """A factor for each row of an axis."""
    best: tuple[float, str] = (math.inf, "")
    for axis in _axes(right, 2):
        found, wanted = _rows(given, axis), _rows(right, axis)
        rows = _off(found, wanted, slack).any(1)
        found, wanted = found[rows], wanted[rows]
        size = wanted.abs().amax(1, keepdim=True)
        unit = wanted / size
        factor = (unit.conj() * found).sum(1) / (unit.conj() * wanted).sum(1)
        left = (found - factor[:, None] * wanted).abs().amax(1)
        apart = (found - wanted).abs().amax(1)
        explained = (left <= SLACK * slack * factor.abs().clamp(min=1)) & (left <= apart / 4)
        told = (wanted.abs() > 4 * slack).sum(1) >= INFORMATIVE
        if not (explained & told).all():
            continue
        same = ((factor - factor[0]).abs() * size.min() <= 4 * slack * factor.abs().clamp(min=1)).all()
        by = _number(factor[0].item()) if same else "a factor of its own" if rows.all() else "factors of their own"
        each = f"each row of axis {axis} is" if rows.all() else _named(rows, axis)
        best = min(best, (rows.double().mean().item(), f"{each} scaled by {by}"))
    return best[1]


def _few(given: Tensor, right: Tensor, slack: float) -> str:
    """Where the wrong elements are, if they are few or few rows are full of them."""
    off = _off(given, right, slack)
    for axis in _axes(right, INFORMATIVE):
        inside = _rows(off, axis)
        rows = inside.any(1)
        if rows.sum() <= max(1, rows.numel() // 4) and inside[rows].double().mean() >= 0.5 and inside.shape[1] > 1:
            return f"only {_named(rows, axis)} off"
    return _counted(off, "{} off") if 0 < off.sum() <= off.numel() // 10 else ""


# In the order of what they take for granted: the first that fits is said.
KINDS: tuple[Kind, ...] = (
    _zero,
    _single,
    _whole,
    _scaled,
    _added,
    _missing,
    _signs,
    _shifted,
    _permuted,
    _factors,
    _few,
)


def _fits(given: Tensor, claim: Tensor, right: Tensor, slack: float) -> bool:
    """Whether a claim explains what was given, and much better than that it is right."""
    left = _largest(given - claim)
    return left <= SLACK * slack and left <= _largest(given - right) / 4


def _off(given: Tensor, right: Tensor, slack: float) -> Tensor:
    return (given - right).abs() > slack


def _axes(tensor: Tensor, shortest: int) -> list[int]:
    return [axis for axis, length in enumerate(tensor.shape) if length >= shortest]


def _rows(tensor: Tensor, axis: int) -> Tensor:
    return tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1)  # (length of the axis, elements at one index)


def _parts(rows: Tensor) -> Tensor:
    return torch.view_as_real(rows.resolve_conj()).flatten(1) if rows.is_complex() else rows


def _largest(tensor: Tensor) -> float:
    return tensor.abs().max().item() if tensor.numel() else 0.0


def _named(rows: Tensor, axis: int) -> str:
    """Some rows of an axis with their verb."""
    which = rows.nonzero().flatten().tolist()
    if len(which) > 3:
        return f"{len(which)} of {rows.numel():,} rows of axis {axis}, the first at {which[0]}, are"
    listed = " and ".join(filter(None, (", ".join(map(str, which[:-1])), str(which[-1]))))
    return f"row{'s' * (len(which) > 1)} {listed} of axis {axis} {'are' if len(which) > 1 else 'is'}"


def _counted(found: Tensor, words: str) -> str:
    """Some elements: how many, their verb and `words`, and where the first is."""
    count, total = int(found.sum()), found.numel()
    if count == total:
        return "all of it " + words.format("is")
    first = found.nonzero()[0].tolist()
    where = f"at {first}" if count == 1 else f"the first at {first}"
    return f"{count:,} of {total:,} elements " + words.format("is" if count == 1 else "are") + f", {where}"


def _number(value: complex) -> str:
    """A factor with two digits of its distance from 1, three digits at the least."""
    value = value.real if isinstance(value, complex) and abs(value.imag) < 1e-9 * abs(value) else value
    apart = abs(value - 1)
    return f"{value:.{max(3, 2 - math.floor(math.log10(apart)) if apart else 3)}g}"

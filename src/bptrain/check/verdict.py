"""Verdicts on a gradient, from the best to the worst."""

from __future__ import annotations

from collections.abc import Iterable

VERIFIED = "verified"  # a rule covers it, and both agree
CONTRACT = "contract"  # not a derivative by design, and equal to what torch documents
NUMERICAL = "numerical"  # no rule, but the call agrees with differences
UNVERIFIED = "unverified"  # no rule, and differences say nothing
WRONG = "wrong"  # autograd, a kernel or the user's own backward disagrees with the reference
REFERENCE_WRONG = "reference-wrong"  # the rule disagrees with differences of its own forward: our bug

PROVED = (VERIFIED, CONTRACT)  # by a hand-written rule
ORDER = (*PROVED, NUMERICAL, UNVERIFIED, REFERENCE_WRONG, WRONG)


def worst(verdicts: Iterable[str]) -> str:
    """The worst of some verdicts; of none, `unverified`, since nothing was shown."""
    return max(verdicts, key=ORDER.index, default=UNVERIFIED)


def failed(verdict: str, strict: bool = False) -> bool:
    """Whether a verdict stops a run: it is wrong, or under `strict` it could not be verified."""
    return verdict in (WRONG, REFERENCE_WRONG) or (strict and verdict == UNVERIFIED)

"""Figures: the numbers of a check as text and as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from bptrain.check.tolerance import GradientError, digits


def figures(error: GradientError | None) -> tuple[str, str]:
    """An error, and its digits of those that the dtype has; '-' where nothing could be compared."""
    if error is None or math.isnan(error.error):
        return "-", "-"
    if error.vanishes:
        return "-", "zero but for rounding"
    return f"{error.error:.1e}", f"{min(digits(error.error), error.expected):.1f} of {error.expected:.1f}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line of text for each row, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(widths[i]) for i, cell in enumerate(row)).rstrip() for row in rows]


def plain(error: GradientError) -> dict[str, Any]:
    """A gradient's error as JSON has it."""
    found = {**dataclasses.asdict(error), "digits": error.digits}
    return {key: number(value) if isinstance(value, float) else value for key, value in found.items()}


def number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None

"""Planted faults: small networks with one wrong gradient each, and their honest twins."""

from faults import (
    approximation,
    attention,
    elements,
    normalization,
    product,
    recurrence,
    scale,
    selection,
    window,
    wiring,
)

KINDS = (normalization, scale, elements, approximation, selection, window, product, attention, recurrence, wiring)
FAULTS = [fault for kind in KINDS for fault in kind.FAULTS]

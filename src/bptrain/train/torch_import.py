"""The import of torch, which is most of the time to the first step."""

from __future__ import annotations

import ctypes
import gc
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)


def import_torch() -> None:
    """Imports torch, and takes what is loaded then out of the search for garbage, which finds none in modules.

    While torch loads and after it Python would go through all of that again and again, for a sixth of the time to the
    first step.
    """
    keep_freed_memory()
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        import torch  # noqa: F401 - for what comes after
    finally:
        gc.enable()
    gc.freeze()


def keep_freed_memory() -> None:
    """Has glibc keep what is freed for the next step, not hand it back to the system page by page.

    A step frees and takes again tensors of the same sizes. Large ones are else new memory each time, cleared by the
    system at the first touch: 0.2 of a step of gunpoint_cnn, 0.3 of one of 64 stacked recurrent networks.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # not with musl
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)

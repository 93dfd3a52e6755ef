"""Autocast: the automatic casts that a caller has switched on, meant for the model's own calls alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

DEVICES = ("cpu", "cuda", "mps", "xpu")


@dataclass(frozen=True)
class Autocast:
    """The dtype that each kind of device casts to, where it does."""

    dtypes: tuple[tuple[str, torch.dtype], ...] = ()

    @classmethod
    def now(cls) -> Autocast:
        return cls(tuple((d, torch.get_autocast_dtype(d)) for d in DEVICES if torch.is_autocast_enabled(d)))

    @classmethod
    def of(cls, dtype: torch.dtype | None) -> Autocast:
        """Casts to one dtype wherever a call may run."""
        return cls() if dtype is None else cls(tuple((device, dtype) for device in _present()))

    @contextmanager
    def on(self) -> Iterator[None]:
        """Inside, these casts are made."""
        with ExitStack() as stack:
            for device, dtype in self.dtypes:
                # A cast kept from an earlier pass would be one of other tensors, or of ones without a gradient.
                stack.enter_context(torch.autocast(device, dtype, cache_enabled=False))
            yield

    @contextmanager
    def off(self) -> Iterator[None]:
        """Inside, none of them is."""
        with ExitStack() as stack:
            for device, _ in self.dtypes:
                stack.enter_context(torch.autocast(device, enabled=False))
            yield


def _present() -> Iterator[str]:
    yield "cpu"
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        yield accelerator.type


OFF = Autocast()

"""Draws: the states of torch's generators, kept to make the same random draws again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """The state of the generator of the CPU, and of each CUDA device once CUDA is in use."""

    cpu: Tensor
    cuda: tuple[Tensor, ...]

    @classmethod
    def now(cls) -> Draws:
        return cls(torch.get_rng_state(), tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else ())

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)


def seed_all(seed: int) -> None:
    """Seeds the same generators; torch.manual_seed also notes for a CUDA that may come up later who called it."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


@contextmanager
def kept() -> Iterator[None]:
    """Whatever is drawn inside, the generators are afterwards where they were before."""
    before = Draws.now()
    try:
        yield
    finally:
        before.restore()


@contextmanager
def repeated(draws: Draws | None) -> Iterator[None]:
    """Inside, the generators give the draws that followed `draws`."""
    with kept():
        if draws is not None:
            draws.restore()
        yield

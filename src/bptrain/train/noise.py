"""Noise: what a forward pass draws at random, so that it can be drawn beforehand and handed to a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bptrain.reference.draws import kept
from bptrain.train.program import Untraceable, draws

ELEMENTS = (F.dropout, torch.dropout, torch.dropout_)
CHANNELS = (F.dropout1d, F.dropout2d, F.dropout3d)
PLAIN = {"size", "dtype", "device"}  # arguments of torch.randn and torch.rand that are known here


@dataclass(frozen=True)
class Noise:
    """One draw: a mask that is 1 / (1 - p) with probability 1 - p, else 0, or numbers from N(0, 1) or [0, 1).

    A mask lies in memory by its `stride`: it is drawn in that order.
    """

    kind: Literal["mask", "normal", "uniform"]
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    p: float = 0.0
    stride: tuple[int, ...] = ()

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """As torch's own functions draw it on a CPU, to the bit; None is torch's own generator."""
        if self.kind == "mask":
            if self.p == 1:
                return torch.zeros(self.shape, dtype=self.dtype, device=self.device)
            mask = torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)
            return mask.bernoulli_(1 - self.p, generator=generator).div_(1 - self.p)
        function = torch.randn if self.kind == "normal" else torch.rand
        return function(self.shape, generator=generator, dtype=self.dtype, device=self.device)


class _Replaced(TorchFunctionMode):
    """Inside, what would be drawn at random comes from `source`."""

    def __init__(self, source: Callable[[Noise], Tensor]) -> None:
        super().__init__()
        self.source = source

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in ELEMENTS or function in CHANNELS:
            return self._dropped(function, *args, **kwargs)
        if function in (torch.randn, torch.rand) and {key for key in kwargs if kwargs[key] is not None} <= PLAIN:
            return self._drawn(function, args, kwargs)
        return function(*args, **kwargs)

    def _dropped(
        self, function: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, **other: Any
    ) -> Tensor:
        if not other.get("train", training) or p == 0 or not input.numel():
            return input
        kept = torch.empty_like(input, device="meta")
        if function in CHANNELS:
            apart = 1 if (function, input.dim()) in ((F.dropout1d, 2), (F.dropout3d, 4)) else 2  # no batch, or one
            kept = torch.empty(*input.shape[:apart], *(1,) * (input.dim() - apart), device="meta")
        y = input * self.source(Noise("mask", tuple(kept.shape), input.dtype, input.device, p, kept.stride()))
        return input.copy_(y) if inplace or function is torch.dropout_ else y

    def _drawn(self, function: Any, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        size = kwargs.get("size", args[0] if len(args) == 1 and not isinstance(args[0], int) else args)
        dtype = kwargs.get("dtype") or torch.get_default_dtype()
        device = torch.device(kwargs.get("device") or torch.get_default_device())
        kind: Literal["normal", "uniform"] = "normal" if function is torch.randn else "uniform"
        return self.source(Noise(kind, tuple(size), dtype, device))


class _Drawing(TorchDispatchMode):
    """Counts the operators that draw random numbers, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if name := draws(operator):
            self.names[name] += 1
        return operator(*args, **(kwargs or {}))


def collected(function: Callable[[], Any]) -> list[Noise]:
    """What `function` draws, in that order; it is called, and torch's generators move as they do.

    Untraceable where it draws in another way too.
    """
    found: list[Noise] = []

    def source(noise: Noise) -> Tensor:
        found.append(noise)
        return noise.draw()

    with _Drawing() as all_of_it, _Replaced(source):
        function()
    with kept(), _Drawing() as known:
        drawn(found)
    for name in all_of_it.names - known.names:
        raise Untraceable(f"it draws random numbers by {name}, which can't be handed to it")
    return found


def given(tensors: Iterable[Tensor]) -> TorchFunctionMode:
    """Inside, what would be drawn is taken from `tensors`, one after the other."""
    rest = iter(tensors)
    return _Replaced(lambda noise: next(rest))


def drawn(noises: Sequence[Noise], generator: torch.Generator | None = None) -> list[Tensor]:
    return [noise.draw(generator) for noise in noises]

"""Sequences of different lengths: padded to the longest, and packed step by step in one row.

padded (T, B, *), or (B, T, *) with `batch_first`
packed (N, *) with N the sum of the lengths: of each step the sequences that are still there, longest first
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


def _there(steps: int, lengths: Tensor) -> Tensor:
    """True (T, B) while a sequence lasts."""
    return torch.arange(steps)[:, None] < lengths


def _batch_axis(x: Tensor, batch_first: bool) -> Tensor:
    return x.transpose(0, 1) if batch_first else x  # (T, B, *) <-> (B, T, *)


class PackPadded(Rule, functions=[torch._pack_padded_sequence]):
    """y = the steps of the padded sequences x in one row, and the number of sequences of each step (T).

    Derivation. Each step goes to one place, and padding nowhere: dx = dy where a sequence lasts, else 0.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        lengths = torch.tensor([3, 3, 1])
        yield case("time first", torch.randn(4, 3, 2), lengths, False)
        yield case("batch first", torch.randn(3, 3, 2, 2), lengths, True)

    @staticmethod
    def forward(input: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Any, Any]:
        x = _batch_axis(input, batch_first)  # (T, B, *)
        there = _there(len(x), lengths).to(x.device)
        sizes = there.sum(1)[: int(lengths[0])].to(lengths.device)  # the first is the longest
        return (x[there], sizes), (there, x.shape, batch_first)

    @staticmethod
    def backward(cache: Any, dy: Any) -> Tensor:
        there, shape, batch_first = cache
        dx = dy[0].new_zeros(shape)
        dx[there] = dy[0]
        return _batch_axis(dx, batch_first)


class PadPacked(Rule, functions=[torch._pad_packed_sequence]):
    """y = the packed sequences `data` padded with `padding_value` to `total_length` steps or the longest, and lengths.

    Derivation. ddata = dy where a sequence lasts, in the order of the row.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        sizes = torch.tensor([3, 2, 2])
        yield case("time first", torch.randn(7, 2), sizes, False, 0.0, 3)
        yield case("batch first, longer", torch.randn(7), sizes, True, -1.5, 5)

    @staticmethod
    def forward(
        data: Tensor, batch_sizes: Tensor, batch_first: bool, padding_value: float, total_length: int
    ) -> tuple[Any, Any]:
        steps = max(len(batch_sizes), total_length)  # -1 for the longest
        lengths = (batch_sizes[:, None] > torch.arange(int(batch_sizes[0]))).sum(0)  # (B)
        there = _there(steps, lengths).to(data.device)
        padded = data.new_full((*there.shape, *data.shape[1:]), padding_value)  # (T, B, *)
        padded[there] = data
        return (_batch_axis(padded, batch_first), lengths), (there, batch_first)

    @staticmethod
    def backward(cache: Any, dy: Any) -> Tensor:
        there, batch_first = cache
        return _batch_axis(dy[0], batch_first)[there]


class PadSequence(Rule, functions=[torch._C._nn.pad_sequence]):
    """y = sequences (T_b, *) padded to the longest, at their end or their start (`padding_side`), as one tensor.

    Derivation. dx_b = dy of sequence b without its padding.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        sequences = [torch.randn(2, 3), torch.randn(4, 3), torch.randn(1, 3)]
        yield case("time first", sequences)
        yield case("batch first, at the start", sequences, True, -1.5, "left")

    @staticmethod
    def forward(
        sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
    ) -> tuple[Tensor, Any]:
        steps = max(map(len, sequences))
        padded = sequences[0].new_full((steps, len(sequences), *sequences[0].shape[1:]), padding_value)  # (T, B, *)
        places = [slice(steps - len(x), steps) if padding_side == "left" else slice(len(x)) for x in sequences]
        for b, x in enumerate(sequences):
            padded[places[b], b] = x
        return _batch_axis(padded, batch_first), (places, batch_first)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[list[Tensor]]:
        places, batch_first = cache
        dpadded = _batch_axis(dy, batch_first)
        return ([dpadded[place, b] for b, place in enumerate(places)],)

"""Elements read by strides through the memory of a tensor.

There is no rule for as_strided_scatter, which writes to them: torch (2.13) has its gradient the wrong way round, dx =
dy in just the places that were overwritten, and differences find that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, case
from bptrain.reference.rules.indexing import Picked, pick

Sizes = Sequence[int]


class AsStrided(Picked, functions=[torch.as_strided, Tensor.as_strided, Tensor.as_strided_, torch.as_strided_copy]):
    """y = x read from its memory, from the element `storage_offset` on, with a stride an axis; places may repeat.

    What lies outside x, as it may where x is a part of a larger tensor, can't be read; no rule.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("overlapping", torch.randn(12), (3, 4), (2, 1), 1)
        yield case("of a matrix", torch.randn(3, 4), (2, 2), (1, 5))
        yield case("of another layout", torch.randn(3, 4).t(), size=(5,), stride=(2,))

    @staticmethod
    def forward(input: Tensor, size: Sizes, stride: Sizes, storage_offset: int | None = None) -> tuple[Tensor, Any]:
        def read(places: Tensor) -> Tensor:  # laid out as x is
            return (
                torch.empty_like(input, dtype=places.dtype).copy_(places).as_strided(size, stride, storage_offset or 0)
            )

        return pick(input, read)

"""A tensor overwritten behind autograd's back: through `data`, or a leaf in place under no_grad."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


class Data(Rule, functions=[Tensor.data.__set__]):  # type: ignore[attr-defined]
    """x.data = v: x holds v from here on.

    Contract: autograd does not see it, so that dx is the gradient by the new values, dx = dy, and v has none.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("other values", torch.randn(2, 3), torch.randn(2, 3), constant=("value",), smooth=False)

    @staticmethod
    def forward(input: Tensor, value: Tensor) -> tuple[Tensor, None]:
        return value, None

    @staticmethod
    def backward(cache: None, dy: Tensor) -> Tensor:
        return dy

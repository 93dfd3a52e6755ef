"""Bilinear maps of two vectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case


class Bilinear(Rule, functions=[F.bilinear]):
    """y_o = sum_ij a_i W_oij b_j + c_o, with a (*, I), b (*, J), W (O, I, J), c (O), y (*, O).

    Derivation. y is linear in each of a, b and W:
        da_i = sum_oj dy_o W_oij b_j,   db_j = sum_oi dy_o W_oij a_i
        dW_oij = sum_rows dy_o a_i b_j,   dc_o = sum_rows dy_o
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        weight = torch.randn(2, 3, 5)
        yield case("rows", torch.randn(4, 3), torch.randn(4, 5), weight, torch.randn(2))
        yield case("no bias", torch.randn(2, 4, 3), torch.randn(2, 4, 5), weight)
        yield case("vectors", torch.randn(3), torch.randn(5), weight, bias=torch.randn(2))

    @staticmethod
    def forward(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Any]:
        y = torch.einsum("...i,oij,...j->...o", input1, weight, input2)
        return (y if bias is None else y + bias), (input1, input2, weight, bias)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        input1, input2, weight, bias = cache
        da = torch.einsum("...o,oij,...j->...i", dy, weight, input2)
        db = torch.einsum("...o,oij,...i->...j", dy, weight, input1)
        dweight = torch.einsum("...o,...i,...j->oij", dy, input1, input2)
        return da, db, dweight, None if bias is None else dy.reshape(-1, dy.shape[-1]).sum(0)

"""Affine maps and matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to


class Linear(Rule, functions=[F.linear]):
    """y = x W^T + b, with x (*, I), W (O, I), b (O), y (*, O).

    Derivation. For one row, y_o = sum_i W_oi x_i + b_o. With dy_o = dL/dy_o the chain rule gives
        dx_i  = sum_o dy_o W_oi        -> dx = dy W
        dW_oi = sum_rows dy_o x_i      -> dW = dy^T x
        db_o  = sum_rows dy_o
    Source: Rumelhart, Hinton and Williams, Nature 323 (1986), equations 4 to 7.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrix", torch.randn(5, 3), torch.randn(2, 3), torch.randn(2))
        yield case("no bias", torch.randn(5, 3), torch.randn(2, 3))
        yield case("vector", torch.randn(3), torch.randn(2, 3), torch.randn(2))
        yield case("sequence", torch.randn(4, 2, 3), torch.randn(1, 3), bias=torch.randn(1))
        yield case("vector weight", torch.randn(4, 3), torch.randn(3))

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Any]:
        y = x @ weight.transpose(-2, -1) if weight.dim() == 2 else x @ weight  # (*, O)
        if bias is not None:
            y = y + bias
        return y, (x, weight, bias)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = cache
        matrix = weight if weight.dim() == 2 else weight[None]  # (O, I)
        rows = dy.reshape(-1, matrix.shape[0])  # (B, O)
        dx = (rows @ matrix).reshape(x.shape)
        dweight = (rows.transpose(0, 1) @ x.reshape(-1, x.shape[-1])).reshape(weight.shape)
        dbias = sum_to(dy, bias.shape) if bias is not None else None
        return dx, dweight, dbias


MV: list[Callable] = [torch.mv, Tensor.mv]
DOT: list[Callable] = [torch.dot, Tensor.dot]
MATMUL = [
    *[torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.linalg.matmul, torch.mm, Tensor.mm, torch.bmm, Tensor.bmm],
    *MV,
    *DOT,
]


class MatMul(Rule, functions=MATMUL, complex=True):
    """y = a b with torch.matmul's shapes: matrices, vectors, broadcast batches.

    Derivation. y_ij = sum_k a_ik b_kj, so da = dy b^T and db = a^T dy, with conjugates for complex tensors; a
    vector is a matrix with one row (left) or one column (right), and a batch axis that was broadcast is summed.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrices", torch.randn(3, 4), torch.randn(4, 2), function=torch.mm)
        yield case("matrices", torch.randn(3, 4), torch.randn(4, 2), function=Tensor.mm)
        yield case("matrices", torch.randn(3, 4), torch.randn(4, 2), function=Tensor.matmul)
        yield case("matrices", torch.randn(3, 4), torch.randn(4, 2), function=Tensor.__matmul__)
        yield case("batches", torch.randn(2, 3, 4), torch.randn(2, 4, 1), function=torch.bmm)
        yield case("batches", torch.randn(2, 3, 4), torch.randn(2, 4, 1), function=Tensor.bmm)
        yield case("broadcast", torch.randn(5, 1, 3, 4), torch.randn(2, 4, 2))
        yield case("broadcast", torch.randn(5, 1, 3, 4), torch.randn(2, 4, 2), function=torch.linalg.matmul)
        yield case("vector right", torch.randn(2, 3, 4), torch.randn(4))
        yield case("vector left", torch.randn(4), torch.randn(2, 4, 3))
        yield case("dot", torch.randn(4), torch.randn(4))
        yield case("complex", torch.randn(3, 4, dtype=torch.complex64), torch.randn(2, 4, 1, dtype=torch.complex64))
        yield from (case("matrix and vector", torch.randn(3, 4), torch.randn(4), function=f) for f in MV)
        yield from (case("vectors", torch.randn(4), torch.randn(4), function=f) for f in DOT)

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        return input @ other, (input, other)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        input, other = cache
        a = input[None] if input.dim() == 1 else input  # (..., I, K)
        b = other[:, None] if other.dim() == 1 else other  # (..., K, J)
        if input.dim() == 1:
            dy = dy.unsqueeze(-2) if other.dim() > 1 else dy.reshape(1)  # (..., 1, J)
        if other.dim() == 1:
            dy = dy.unsqueeze(-1)  # (..., I, 1)
        da = dy @ b.transpose(-2, -1).conj()
        db = a.transpose(-2, -1).conj() @ dy
        return sum_to(da, a.shape).reshape(input.shape), sum_to(db, b.shape).reshape(other.shape)

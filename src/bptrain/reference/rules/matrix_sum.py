"""A tensor plus a matrix product: y = beta x + alpha a b, as a kernel of its own.

Derivation. dx = beta dy, summed where x was broadcast; da and db are those of the product with alpha dy. With
beta = 0 torch leaves x out, even if it is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.linear import MatMul


class MatrixSum(Rule):
    """The rules that add a tensor to a product; `forward` names the operands, `of` adds them up."""

    @staticmethod
    def of(input: Tensor, a: Tensor, b: Tensor, beta: float, alpha: float) -> tuple[Tensor, Any]:
        product, cache = MatMul.forward(a, b)
        y = alpha * product
        return y if beta == 0 else beta * input + y, (input, beta, alpha, cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, ...]:
        input, beta, alpha, cache = cache
        da, db = MatMul.backward(cache, alpha * dy)
        return sum_to(beta * dy, input.shape), da, db


class AddMM(MatrixSum, functions=[torch.addmm, Tensor.addmm, Tensor.addmm_]):
    """y = beta x + alpha a b, with matrices a (I, K) and b (K, J)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("factors", torch.randn(2, 4), torch.randn(2, 3), torch.randn(3, 4), beta=0.3, alpha=-0.7)
        yield case("bias", torch.randn(4), torch.randn(2, 3), torch.randn(3, 4), function=torch.addmm)
        yield case("no x", torch.randn(2, 4), torch.randn(2, 3), torch.randn(3, 4), beta=0, function=torch.addmm)

    @staticmethod
    def forward(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> tuple[Tensor, Any]:
        return MatrixSum.of(input, mat1, mat2, beta, alpha)


class AddMV(MatrixSum, functions=[torch.addmv, torch.addmv_, Tensor.addmv, Tensor.addmv_]):
    """y = beta x + alpha a b, with a matrix a (I, K) and a vector b (K)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("factors", torch.randn(2), torch.randn(2, 3), torch.randn(3), beta=0.3, alpha=-0.7)
        yield case("scalar", torch.randn(()), torch.randn(2, 3), torch.randn(3), function=torch.addmv)

    @staticmethod
    def forward(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> tuple[Tensor, Any]:
        return MatrixSum.of(input, mat, vec, beta, alpha)


class BAddBMM(MatrixSum, functions=[torch.baddbmm, Tensor.baddbmm, Tensor.baddbmm_]):
    """y = beta x + alpha a b, with batches of matrices a (B, I, K) and b (B, K, J)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        a, b = torch.randn(2, 3, 5), torch.randn(2, 5, 4)
        yield case("factors", torch.randn(2, 3, 4), a, b, beta=0.3, alpha=-0.7)
        yield case("bias", torch.randn(3, 1), a, b, function=torch.baddbmm)

    @staticmethod
    def forward(
        input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
    ) -> tuple[Tensor, Any]:
        return MatrixSum.of(input, batch1, batch2, beta, alpha)


class AddBMM(Rule, functions=[torch.addbmm, Tensor.addbmm, Tensor.addbmm_]):
    """y = beta x + alpha times the sum over the batch of a b: baddbmm summed, so that every matrix gets the same dy."""

    @staticmethod
    def cases() -> Iterable[Case]:
        a, b = torch.randn(2, 3, 5), torch.randn(2, 5, 4)
        yield case("factors", torch.randn(3, 4), a, b, beta=0.3, alpha=-0.7)
        yield case("bias", torch.randn(4), a, b, function=torch.addbmm)

    @staticmethod
    def forward(
        input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
    ) -> tuple[Tensor, Any]:
        products, cache = MatMul.forward(batch1, batch2)
        y = alpha * products.sum(0)
        return y if beta == 0 else beta * input + y, (input, beta, alpha, products.shape, cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, ...]:
        input, beta, alpha, shape, cache = cache
        da, db = MatMul.backward(cache, (alpha * dy).expand(shape))
        return sum_to(beta * dy, input.shape), da, db


class AddR(MatrixSum, functions=[torch.addr, Tensor.addr, Tensor.addr_]):
    """y = beta x + alpha a b^T, with vectors a (I) and b (J)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("factors", torch.randn(2, 3), torch.randn(2), torch.randn(3), beta=0.3, alpha=-0.7)
        yield case("bias", torch.randn(3), torch.randn(2), torch.randn(3), function=torch.addr)

    @staticmethod
    def forward(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> tuple[Tensor, Any]:
        return MatrixSum.of(input, vec1[:, None], vec2[None], beta, alpha)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, ...]:
        dinput, da, db = MatrixSum.backward(cache, dy)
        return dinput, da.reshape(-1), db.reshape(-1)

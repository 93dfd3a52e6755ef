"""Products of two tensors by their axes (inner, outer, Kronecker, cross) and of many matrices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.contraction import contraction, contraction_gradients


class Contracted(Rule):
    """The rules whose forward is a `contraction` of two tensors."""

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, ...]:
        return tuple(contraction_gradients(cache, dy))


class Inner(Contracted, functions=[torch.inner, Tensor.inner]):
    """y = the sum over the last axes of a and b, of all pairs of their other axes; a scalar multiplies."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrices", torch.randn(2, 3), torch.randn(4, 3))
        yield case("vectors", torch.randn(3), torch.randn(3))
        yield case("more axes", torch.randn(2, 5, 3), torch.randn(3))
        yield case("scalar", torch.randn(()), torch.randn(2, 3))

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        ia, ib = (tuple(f"{name}{i}" for i in range(t.dim())) for name, t in (("a", input), ("b", other)))
        if ia and ib:
            ib = (*ib[:-1], ia[-1])
            return contraction([input, other], [ia, ib], ia[:-1] + ib[:-1])
        return contraction([input, other], [ia, ib], ia + ib)


class Outer(Contracted, functions=[torch.outer, Tensor.outer, torch.ger, Tensor.ger]):
    """y_ij = a_i b_j."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("vectors", torch.randn(2), torch.randn(3))

    @staticmethod
    def forward(input: Tensor, vec2: Tensor) -> tuple[Tensor, Any]:
        return contraction([input, vec2], [("i",), ("j",)], ("i", "j"))


class VDot(Rule, functions=[torch.vdot, Tensor.vdot], complex=True):
    """y = the sum of conj(a) b. Derivation. da = conj(dy) b and db = dy a."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("real", torch.randn(3), torch.randn(3))
        yield case("complex", torch.randn(3, dtype=torch.complex64), torch.randn(3, dtype=torch.complex64))

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        return (input.conj() * other).sum(), (input, other)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        a, b = cache
        return dy.conj() * b, dy * a


class Kron(Rule, functions=[torch.kron, Tensor.kron]):
    """y = each element of a times all of b, as blocks: y[i K + k, j L + l] = a_ij b_kl; missing axes have size 1."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrices", torch.randn(2, 3), torch.randn(4, 2))
        yield case("vector and matrix", torch.randn(3), torch.randn(2, 2))

    @staticmethod
    def forward(input: Tensor, other: Tensor) -> tuple[Tensor, Any]:
        rank = max(input.dim(), other.dim())
        a, b = (t.reshape([1] * (rank - t.dim()) + list(t.shape)) for t in (input, other))
        ia, ib = (tuple(f"{name}{i}" for i in range(rank)) for name in "ab")
        y, cache = contraction([a, b], [ia, ib], tuple(i for pair in zip(ia, ib, strict=True) for i in pair))
        return y.reshape([m * n for m, n in zip(a.shape, b.shape, strict=True)]), (cache, y.shape, input, other)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, ...]:
        cache, shape, input, other = cache
        da, db = contraction_gradients(cache, dy.reshape(shape))
        return da.reshape(input.shape), db.reshape(other.shape)


class Vecdot(Rule, functions=[torch.linalg.vecdot]):
    """y = the sum of a b along the axis `dim`, after both are broadcast. Derivation. da = dy b and db = dy a."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("last", torch.randn(2, 3), torch.randn(4, 1, 3))
        yield case("first", torch.randn(3, 2), torch.randn(3, 2), dim=0)

    @staticmethod
    def forward(x: Tensor, y: Tensor, *, dim: int = -1) -> tuple[Tensor, Any]:
        return (x * y).sum(dim), (x, y, dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        a, b, dim = cache
        dy = dy.unsqueeze(dim)
        return sum_to(dy * b, a.shape), sum_to(dy * a, b.shape)


class Cross(Rule, functions=[torch.linalg.cross]):
    """y = a x b along the axis `dim` of size 3, after both are broadcast: y_i = a_{i+1} b_{i+2} - a_{i+2} b_{i+1}.

    Derivation. dy . (a x b) is the same under a turn of the three, so da = b x dy and db = dy x a.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("last", torch.randn(1, 2, 3), torch.randn(4, 1, 3))
        yield case("first", torch.randn(3, 2), torch.randn(3, 2), dim=0)

    @staticmethod
    def forward(input: Tensor, other: Tensor, *, dim: int = -1) -> tuple[Tensor, Any]:
        y = input.roll(-1, dim) * other.roll(-2, dim) - input.roll(-2, dim) * other.roll(-1, dim)
        return y, (input, other, dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        a, b, dim = cache
        return (
            sum_to(Cross.forward(b, dy, dim=dim)[0], a.shape),
            sum_to(Cross.forward(dy, a, dim=dim)[0], b.shape),
        )


class OldCross(Rule, functions=[torch.cross, Tensor.cross]):
    """As linalg.cross, but along the first axis of size 3 unless told."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("told", torch.randn(3, 3), torch.randn(3, 3), 1)
        yield case("by name", torch.randn(3, 2), torch.randn(3, 2), dim=0)

    @staticmethod
    def forward(input: Tensor, other: Tensor, dim: int | None = None) -> tuple[Tensor, Any]:
        return Cross.forward(input, other, dim=input.shape.index(3) if dim is None else dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        return Cross.backward(cache, dy)


class MultiDot(Rule, functions=[torch.linalg.multi_dot]):
    """y = the product of matrices, the first and the last of which may be vectors.

    Derivation. y = L a R, with L and R the products of what stands before and after a: da = L^T dy R^T.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("matrices", [torch.randn(2, 3), torch.randn(3, 4), torch.randn(4, 5)])
        yield case("vectors", [torch.randn(3), torch.randn(3, 4), torch.randn(4)])

    @staticmethod
    def forward(tensors: Sequence[Tensor]) -> tuple[Tensor, Any]:
        matrices = list(tensors)
        if matrices[0].dim() == 1:
            matrices[0] = matrices[0][None]  # (1, K)
        if matrices[-1].dim() == 1:
            matrices[-1] = matrices[-1][:, None]  # (K, 1)
        y = matrices[0]
        for matrix in matrices[1:]:
            y = y @ matrix
        vectors = (tensors[0].dim() == 1, tensors[-1].dim() == 1)
        shape = [n for n, dropped in zip(y.shape, vectors, strict=True) if not dropped]
        return y.reshape(shape), (matrices, [t.shape for t in tensors], y.shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[list[Tensor]]:
        matrices, shapes, full = cache
        gradients, dy = [], dy.reshape(full)
        for k, shape in enumerate(shapes):
            gradient = dy
            for matrix in matrices[:k]:
                gradient = matrix.transpose(0, 1) @ gradient
            for matrix in reversed(matrices[k + 1 :]):
                gradient = gradient @ matrix.transpose(0, 1)
            gradients.append(gradient.reshape(shape))
        return (gradients,)

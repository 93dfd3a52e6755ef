"""Running products and extremes along an axis, and differences of neighbours; cumsum is in `reduction.py`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case

DTYPE = torch.dtype | None


class CumProd(Rule, functions=[torch.cumprod, Tensor.cumprod, Tensor.cumprod_]):
    """y_i = x_0 x_1 ... x_i along the axis `dim`.

    Derivation. dx_k = sum over i >= k of dy_i times all of x_0 ... x_i but x_k. That is y_{k-1} s_k, with the sum
    s_k = dy_k + x_{k+1} s_{k+1} from the end, which is right where some x are 0, as a division by x_k is not.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("first", torch.randn(4, 3), 0)
        yield case("last", torch.randn(2, 3), dim=-1, dtype=torch.float64)
        yield case("zeros", torch.tensor([0.5, 0.0, 3.0, 0.0, 2.0]), 0)

    @staticmethod
    def forward(input: Tensor, dim: int, *, dtype: DTYPE = None) -> tuple[Tensor, Any]:
        if input.dim() == 0:
            raise TypeError("a scalar has no axis")
        return input.cumprod(dim), (input, dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        x, dim = cache
        before = torch.cat([torch.ones_like(x.narrow(dim, 0, 1)), x.cumprod(dim).narrow(dim, 0, x.shape[dim] - 1)], dim)
        sums = [dy.select(dim, -1)]
        for k in reversed(range(x.shape[dim] - 1)):
            sums.append(dy.select(dim, k) + x.select(dim, k + 1) * sums[-1])
        return before * torch.stack(sums[::-1], dim)


class CumMax(Rule, functions=[torch.cummax, Tensor.cummax]):
    """y_i = the largest of x_0 ... x_i along the axis `dim`, and its index.

    Derivation. Each y_i is one x_j, which gets dy_i. Convention at a tie: the last one of them. Found in steps
    that double: after each, y_i is the largest of as many elements up to i.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("last", torch.randn(2, 7), -1)
        yield case("ties", torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [1.0, 3.0, 2.0]]), dim=0, smooth=False)

    @staticmethod
    def kinks(input: Tensor, dim: int) -> int:
        y = input.cummax(dim).values
        seen = (input == y).cumsum(dim)  # how often a largest one was met
        new = y.narrow(dim, 1, y.shape[dim] - 1) != y.narrow(dim, 0, y.shape[dim] - 1)
        new = torch.cat([torch.ones_like(y.narrow(dim, 0, 1), dtype=torch.bool), new], dim)
        return int((seen > torch.where(new, seen, 0).cummax(dim).values).sum())

    @staticmethod
    def forward(input: Tensor, dim: int) -> tuple[tuple[Tensor, Tensor], Any]:
        if input.dim() == 0:
            raise TypeError("a scalar has no axis")
        n, step = input.shape[dim], 1
        places = torch.arange(n, device=input.device).reshape(
            [-1 if i == dim % input.dim() else 1 for i in range(input.dim())]
        )
        places = places.expand(input.shape)
        while step < n:
            before, here = places.narrow(dim, 0, n - step), places.narrow(dim, step, n - step)
            larger = torch.where(input.gather(dim, before) > input.gather(dim, here), before, here)
            places = torch.cat([places.narrow(dim, 0, step), larger], dim)
            step *= 2
        return (input.gather(dim, places), places), (places, dim)

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> Tensor:
        places, dim = cache
        return torch.zeros_like(dy[0]).scatter_add(dim, places, dy[0])


class CumMin(Rule, functions=[torch.cummin, Tensor.cummin]):
    """y_i = the smallest of x_0 ... x_i along the axis `dim`, and its index: -cummax(-x)."""

    @staticmethod
    def cases() -> Iterable[Case]:
        return CumMax.cases()

    @staticmethod
    def kinks(input: Tensor, dim: int) -> int:
        return CumMax.kinks(-input, dim)

    @staticmethod
    def forward(input: Tensor, dim: int) -> tuple[tuple[Tensor, Tensor], Any]:
        (y, places), cache = CumMax.forward(-input, dim)
        return (-y, places), cache

    @staticmethod
    def backward(cache: Any, dy: tuple[Tensor, Tensor]) -> Tensor:
        return CumMax.backward(cache, dy)


class LogCumSumExp(Rule, functions=[torch.logcumsumexp, Tensor.logcumsumexp]):
    """y_i = log(exp(x_0) + ... + exp(x_i)) along the axis `dim`.

    Derivation. dx_j = sum over i >= j of dy_i exp(x_j - y_i). With s_j = dy_j + exp(y_j - y_{j+1}) s_{j+1} from the
    end that is exp(x_j - y_j) s_j, whose exponents are never above 0.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("last", torch.randn(2, 5), -1)
        yield case("large", torch.tensor([[800.0, -1.0], [799.0, 0.5], [-800.0, 2.0]]), dim=0)

    @staticmethod
    def forward(input: Tensor, dim: int) -> tuple[Tensor, Any]:
        if input.dim() == 0:
            raise TypeError("a scalar has no axis")
        slices = list(input.unbind(dim))
        for i in range(1, len(slices)):
            a, b = slices[i - 1], slices[i]
            slices[i] = torch.maximum(a, b) + torch.log1p(torch.exp(-(a - b).abs()))
        y = torch.stack(slices, dim)
        return y, (input, y, dim)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        x, y, dim = cache
        sums = [dy.select(dim, -1)]
        for j in reversed(range(x.shape[dim] - 1)):
            sums.append(dy.select(dim, j) + torch.exp(y.select(dim, j) - y.select(dim, j + 1)) * sums[-1])
        return torch.exp(x - y) * torch.stack(sums[::-1], dim)


class Diff(Rule, functions=[torch.diff, Tensor.diff]):
    """y_i = x_{i+1} - x_i along the axis `dim`, n times over, with `prepend` before x and `append` after it.

    Derivation. x_i is in y_{i-1} with the sign + and in y_i with the sign -: dx_i = dy_{i-1} - dy_i.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("last", torch.randn(2, 5))
        yield case("twice", torch.randn(5, 2), 2, 0)
        yield case("ends", torch.randn(2, 3), prepend=torch.randn(2, 1), append=torch.randn(2, 2))

    @staticmethod
    def forward(
        input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        parts = (input, prepend, append)
        y = torch.cat([t for t in (prepend, input, append) if t is not None], dim)
        for _ in range(n):
            y = y.narrow(dim, 1, y.shape[dim] - 1) - y.narrow(dim, 0, y.shape[dim] - 1)
        return y, (n, dim, [0 if t is None else t.shape[dim] for t in parts])

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        n, dim, (own, before, after) = cache
        for _ in range(n):
            zero = torch.zeros_like(dy.narrow(dim, 0, 1))
            dy = torch.cat([zero, dy], dim) - torch.cat([dy, zero], dim)
        dprepend, dinput, dappend = dy.split([before, own, after], dim)
        return dinput, None, None, dprepend if before else None, dappend if after else None

"""Elements, or slices, that meet in one place of a tensor are summed, multiplied, averaged or compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.placing import add_at, along


class ScatterReduce(Rule, functions=[torch.scatter_reduce, Tensor.scatter_reduce, Tensor.scatter_reduce_]):
    """y = x, and at each place that `index` names along `dim` the sum, prod, mean, amax or amin of the v that go there.

    x itself is one of these elements unless `include_self` is false.

    Derivation. Where nothing goes, dx = dy. Elsewhere, for n elements u_k with the result y at their place:
        sum         du = dy
        mean        du = dy / n
        prod        du_k = dy times the product of the others
        amax, amin  du = dy for the winner; convention at a tie of m elements: dy / m each.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        index = torch.tensor([[0, 2], [0, 0], [2, 0], [0, 0]])
        for reduce in ("sum", "prod", "mean", "amax", "amin"):
            yield case(reduce, torch.randn(3, 2), 0, index, torch.randn(4, 2), reduce)
            yield case(
                f"{reduce} without x", torch.randn(3, 3), 0, index, torch.randn(4, 2), reduce, include_self=False
            )
        row, x, ties = torch.tensor([0, 0, 1, 1, 2, 2]), torch.ones(4), torch.tensor([2.0, 2.0, 1.0, 0.5, 0.0, 1.0])
        for reduce in ("prod", "amax", "amin"):
            yield case(f"{reduce}, ties and zeros", x, 0, row, ties, reduce=reduce, smooth=False)
        yield case("two zeros", torch.zeros(2), 0, torch.tensor([0, 0]), torch.tensor([0.0, 3.0]), "prod", smooth=False)

    @staticmethod
    def kinks(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True) -> int:
        if reduce not in ("amax", "amin"):
            return 0
        y = input.scatter_reduce(dim, index, src, reduce, include_self=include_self)
        hit = (src == y.gather(dim, index)).long()
        own = ((input == y) & include_self).long()
        return int((own.scatter_add(dim, index, hit) > 1).sum())

    @staticmethod
    def forward(
        input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
    ) -> tuple[Tensor, Any]:
        if src.shape != index.shape:
            raise TypeError("the source has another shape than the index, for which torch has no gradient")
        places = along(input, dim, index).reshape(-1)
        x, v = input.reshape(-1), src.reshape(-1)
        hits = add_at(torch.zeros_like(x), places, torch.ones_like(v))
        alone = hits == 0  # places to which nothing goes
        own = alone | include_self  # where x itself is an element
        y, dx, dv = {"sum": _sum, "mean": _mean, "prod": _prod, "amax": _largest, "amin": _smallest}[reduce](
            x, v, places, own, hits
        )
        return y.reshape(input.shape), (torch.where(own, dx, 0), dv, places, input.shape, src.shape)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        slope_x, slope_v, places, shape, source = cache
        row = dy.reshape(-1)
        return (row * slope_x).reshape(shape), None, None, (row[places] * slope_v).reshape(source)


class IndexReduce(Rule, functions=[torch.index_reduce, Tensor.index_reduce, Tensor.index_reduce_]):
    """y = x, its slices at the places `index` (K) along `dim` with the prod, mean, amax or amin of those of `source`.

    Derivation. It is scatter_reduce with the index repeated along the other axes.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        index = torch.tensor([0, 2, 0, 0])
        for reduce in ("prod", "mean", "amax", "amin"):
            yield case(reduce, torch.randn(3, 2), 0, index, torch.randn(4, 2), reduce)
            alone = torch.randn(2, 3), -1, index, torch.randn(2, 4), reduce
            yield case(f"{reduce} without x", *alone, include_self=False)
        yield case("ties", torch.ones(3, 1), 0, index, torch.tensor([[2.0], [2.0], [2.0], [0.5]]), "amax", smooth=False)

    @staticmethod
    def repeated(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
        """The index in the shape of the source."""
        return index.reshape([-1 if axis == dim % input.dim() else 1 for axis in range(input.dim())]).expand_as(source)

    @staticmethod
    def kinks(input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True) -> int:
        repeated = IndexReduce.repeated(input, dim, index, source)
        return ScatterReduce.kinks(input, dim, repeated, source, reduce, include_self=include_self)

    @staticmethod
    def forward(
        input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
    ) -> tuple[Tensor, Any]:
        repeated = IndexReduce.repeated(input, dim, index, source)
        return ScatterReduce.forward(input, dim, repeated, source, reduce, include_self=include_self)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return ScatterReduce.backward(cache, dy)


# Each takes x, v, the places of v, where x is an element, how many v go to each place; and gives y and the slopes of
# y with respect to x and to v.
Reduced = tuple[Tensor, Tensor, Tensor]


def _sum(x: Tensor, v: Tensor, places: Tensor, own: Tensor, hits: Tensor) -> Reduced:
    return add_at(torch.where(own, x, 0), places, v), torch.ones_like(x), torch.ones_like(v)


def _mean(x: Tensor, v: Tensor, places: Tensor, own: Tensor, hits: Tensor) -> Reduced:
    share = 1 / (hits + own.to(x.dtype))
    return _sum(x, v, places, own, hits)[0] * share, share, share[places]


def _rounds(places: Tensor, hits: Tensor) -> list[Tensor]:
    """The elements v in rounds, such that no two of one round go to the same place."""
    order = places.argsort(stable=True)
    starts = hits.cumsum(0) - hits  # of each place, the rank of its first element in that order
    turn = torch.arange(len(order), device=places.device) - starts[places[order]]
    return [order[turn == k] for k in range(int(hits.max().item()) if hits.numel() else 0)]


def _prod(x: Tensor, v: Tensor, places: Tensor, own: Tensor, hits: Tensor) -> Reduced:
    """The others of an element are those of earlier and of later rounds; a zero among them does no harm."""
    y, before, after = torch.where(own, x, 1), torch.ones_like(v), torch.ones_like(v)
    rest, rounds = torch.ones_like(x), _rounds(places, hits)
    for chosen in rounds:
        before[chosen] = y[places[chosen]]
        y[places[chosen]] = y[places[chosen]] * v[chosen]
    for chosen in reversed(rounds):
        after[chosen] = rest[places[chosen]]
        rest[places[chosen]] = rest[places[chosen]] * v[chosen]
    return y, rest, before * after


def _largest(x: Tensor, v: Tensor, places: Tensor, own: Tensor, hits: Tensor) -> Reduced:
    y = torch.where(own, x, -torch.inf)
    for chosen in _rounds(places, hits):
        y[places[chosen]] = torch.maximum(y[places[chosen]], v[chosen])
    winner_x, winner_v = (own & (x == y)).to(x.dtype), (v == y[places]).to(v.dtype)
    winners = add_at(winner_x, places, winner_v)
    return y, winner_x / winners, winner_v / winners[places]


def _smallest(x: Tensor, v: Tensor, places: Tensor, own: Tensor, hits: Tensor) -> Reduced:
    y, dx, dv = _largest(-x, -v, places, own, hits)
    return -y, dx, dv

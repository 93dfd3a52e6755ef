"""Sums of products over indices: einsum, and the products of tensors that are einsums under another name.

    y[out] = sum over the other indices of a[indices of a] b[indices of b] ...

Derivation. The gradient of one operand is the einsum of dy and the others: da[indices of a] = sum over all
indices not of a of dy[out] b[..] c[..], with b and c conjugated if they are complex. An index of `a` alone that is
summed gives each of its elements the same gradient; an index twice in one operand picks a diagonal, whose gradient
is laid on that diagonal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to

Indices = tuple[str, ...]


def contract(operands: Sequence[Tensor], indices: Sequence[Indices], out: Indices, size: dict[str, int]) -> Tensor:
    """The einsum of tensors with distinct indices each, from left to right; an index of `out` in none is repeated."""
    y, mine = operands[0], indices[0]
    for k in range(1, len(operands)):
        later = {i for other in indices[k + 1 :] for i in other} | set(out)
        y, mine = _product(y, mine, operands[k], indices[k], later)
    y = y.sum([axis for axis, i in enumerate(mine) if i not in out]) if set(mine) - set(out) else y
    mine = tuple(i for i in mine if i in out)
    y = y.permute([mine.index(i) for i in out if i in mine])
    y = y.reshape([size[i] if i in mine else 1 for i in out])
    return y.expand([size[i] for i in out])


def _product(a: Tensor, ia: Indices, b: Tensor, ib: Indices, later: set[str]) -> tuple[Tensor, Indices]:
    """Two operands in one matrix product; what no later operand nor the result needs is summed."""
    a, ia = _without(a, ia, set(ib) | later)
    b, ib = _without(b, ib, set(ia) | later)
    batch = tuple(i for i in ia if i in ib and i in later)
    summed = tuple(i for i in ia if i in ib and i not in later)
    rows = tuple(i for i in ia if i not in ib)
    columns = tuple(i for i in ib if i not in ia)
    size = dict(zip(ia + ib, a.shape + b.shape, strict=True))

    def matrices(t: Tensor, indices: Indices, *groups: Indices) -> Tensor:
        t = t.permute([indices.index(i) for group in groups for i in group])
        return t.reshape([torch.Size(size[i] for i in group).numel() for group in groups])

    y = matrices(a, ia, batch, rows, summed) @ matrices(b, ib, batch, summed, columns)  # (batch, rows, columns)
    kept = batch + rows + columns
    return y.reshape([size[i] for i in kept]), kept


def _without(t: Tensor, indices: Indices, needed: set[str]) -> tuple[Tensor, Indices]:
    alone = [axis for axis, i in enumerate(indices) if i not in needed]
    return (t.sum(alone) if alone else t), tuple(i for i in indices if i in needed)


def read(equation: str, shapes: Sequence[torch.Size]) -> tuple[list[Indices], Indices]:
    """The indices of each operand and of the result; the axes of an ellipsis are called '0', '1', ... in order."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    hidden = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    widest = max((n for n, term in zip(hidden, terms, strict=True) if "..." in term), default=0)

    def named(term: str, n: int) -> Indices:
        before, dots, after = term.partition("...")
        return (*before, *(str(i) for i in range(widest - n, widest) if dots), *after)

    if not arrow:  # in NumPy's implicit form the result has what occurs once, in the order of the alphabet
        letters = left.replace(",", "").replace("...", "")
        right = "..." + "".join(sorted(i for i in set(letters) if letters.count(i) == 1))
    return [named(term, n) for term, n in zip(terms, hidden, strict=True)], named(right, widest)


def _diagonal(t: Tensor, indices: Indices) -> tuple[Tensor, Indices]:
    """The elements of `t` at which axes of one index agree, as one axis."""
    distinct = tuple(dict.fromkeys(indices))
    if len(distinct) == len(indices):
        return t, indices
    size = dict(zip(indices, t.shape, strict=True))
    at = {i: torch.arange(size[i], device=t.device).reshape([-1 if j == i else 1 for j in distinct]) for i in distinct}
    return t[tuple(at[i] for i in indices)], distinct


def contraction(given: Sequence[Tensor], indices: Sequence[Indices], out: Indices) -> tuple[Tensor, Any]:
    """The einsum of tensors with an index for each axis, and what `contraction_gradients` needs."""
    size: dict[str, int] = {}
    for t, named in zip(given, indices, strict=True):
        size.update({i: n for i, n in zip(named, t.shape, strict=True) if size.get(i, 1) == 1})
    full = [t.expand([size[i] for i in named]) for t, named in zip(given, indices, strict=True)]
    picked = [_diagonal(t, named) for t, named in zip(full, indices, strict=True)]
    tensors, distinct = [t for t, _ in picked], [named for _, named in picked]
    y = contract(tensors, distinct, out, size)
    return y, ([t.shape for t in given], indices, tensors, distinct, out, size)


def contraction_gradients(cache: Any, dy: Tensor) -> list[Tensor]:
    """The gradient of each operand of `contraction`."""
    shapes, indices, tensors, distinct, out, size = cache
    tensors, gradients = [t.conj() for t in tensors], []
    for k, shape in enumerate(shapes):
        others, names = [*tensors[:k], *tensors[k + 1 :]], [*distinct[:k], *distinct[k + 1 :]]
        gradient = contract([dy, *others], [out, *names], distinct[k], size)
        if distinct[k] != indices[k]:
            full = torch.Size(size[i] for i in indices[k])
            places, _ = _diagonal(torch.arange(full.numel(), device=dy.device).reshape(full), indices[k])
            laid = dy.new_zeros(full.numel()).index_add(0, places.reshape(-1), gradient.reshape(-1))
            gradient = laid.reshape(full)
        gradients.append(sum_to(gradient, shape))
    return gradients


class Einsum(Rule, functions=[torch.einsum], complex=True):
    """y = einsum(equation, a, b, ...), with an ellipsis, repeated indices and axes of size 1 that are broadcast."""

    @staticmethod
    def cases() -> Iterable[Case]:
        a, b = torch.randn(2, 3), torch.randn(4, 3)
        yield case("matrix product", "ij,kj->ik", a, b)
        yield case("implicit", "ij, kj", a, b)
        yield case("implicit with ellipsis", "...ij,...jk", torch.randn(5, 1, 2, 3), torch.randn(4, 3, 2))
        yield case("ellipsis of operands", "b...i,oi->b...o", torch.randn(2, 4, 1, 3), b)
        yield case("ellipsis summed", "...i->i", torch.randn(2, 4, 3))
        yield case("attention", "bqhd,bkhd->bhqk", torch.randn(2, 3, 2, 4), torch.randn(2, 5, 2, 4))
        yield case("three operands", "bi,oij,bj->bo", a, torch.randn(4, 3, 5), torch.randn(2, 5))
        yield case("all summed", "ij,kl->", a, b)
        yield case("outer", "i,j,k->kij", torch.randn(2), torch.randn(3), torch.randn(4))
        yield case("diagonal", "iij->ij", torch.randn(3, 3, 2))
        yield case("trace of a product", "ij,ji->", a, torch.randn(3, 2))
        yield case("diagonal of one of two", "ii,ij->j", torch.randn(3, 3), torch.randn(3, 2))
        yield case("broadcast", "ij,ij->ij", torch.randn(2, 1), a)
        yield case("broadcast and summed", "ij,jk->ik", torch.randn(2, 1), torch.randn(3, 4))
        yield case("operands as one", "ij,kj->ik", [a, b])
        yield case("transposed", "ij->ji", a)
        x, weight = (torch.randn(shape, dtype=torch.complex64) for shape in ((2, 3, 4), (3, 5, 4)))
        yield case("complex", "bim,iom->bom", x, weight)
        yield case("capitals", "iJ,kJ", a, b)

    @staticmethod
    def forward(equation: str, *operands: Any) -> tuple[Tensor, Any]:
        as_one = not isinstance(operands[0], Tensor)
        given = operands[0] if as_one else operands
        y, cache = contraction(given, *read(equation, [t.shape for t in given]))
        return y, (as_one, cache)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[None, list[Any]]:
        as_one, cache = cache
        gradients = contraction_gradients(cache, dy)
        return None, [gradients] if as_one else gradients


class Tensordot(Rule, functions=[torch.tensordot]):
    """y = a times b summed over pairs of axes: the last of a with the first of b, or those that are listed."""

    @staticmethod
    def cases() -> Iterable[Case]:
        a, b = torch.randn(2, 3, 4), torch.randn(3, 4, 5)
        yield case("number", a, b)
        yield case("none", torch.randn(2), torch.randn(3, 1), 0)
        yield case("listed", a, torch.randn(4, 5, 2), dims=([0, -1], [2, 0]))
        yield case("tensor of numbers", a, b, torch.tensor([[1, 2], [0, 1]]))

    @staticmethod
    def forward(a: Tensor, b: Tensor, dims: Any = 2, out: None = None) -> tuple[Tensor, Any]:
        if out is not None:
            raise TypeError("the result is written to a given tensor")
        dims = dims.tolist() if isinstance(dims, Tensor) else dims
        left, right = (range(a.dim() - dims, a.dim()), range(dims)) if isinstance(dims, int) else dims
        left, right = [i % a.dim() for i in left], [i % b.dim() for i in right]
        ia = tuple(f"a{i}" for i in range(a.dim()))
        ib = tuple(ia[left[right.index(i)]] if i in right else f"b{i}" for i in range(b.dim()))
        return contraction([a, b], [ia, ib], tuple(i for i in ia + ib if (i in ia) != (i in ib)))

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, ...]:
        return tuple(contraction_gradients(cache, dy))

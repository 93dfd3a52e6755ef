"""Embedding bag: sums, means or maxima of rows of a table, picked by bags of numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.embedding import Embedding, occurrences, shortened


def bags(input: Tensor, offsets: Tensor | None, include_last_offset: bool) -> tuple[Tensor, Tensor]:
    """For each bag the places of its members in the flat input (B, L), and which of the L there are.

    L is the size of the largest bag. Without offsets each row of the input is a bag; with them bag b goes from
    offsets_b to the next, the last one to the end or, with `include_last_offset`, to the last of them.
    """
    if offsets is None:
        offsets = torch.arange(len(input), device=input.device) * input.shape[1]
    ends = torch.cat([offsets[1:], offsets.new_tensor([input.numel()])])
    if include_last_offset:
        offsets, ends = offsets[:-1], ends[:-1]
    sizes = ends - offsets
    rank = torch.arange(max(1, int(sizes.max())), device=input.device)
    place = (offsets[:, None] + rank).clamp(max=input.numel() - 1)  # (B, L)
    return place, rank < sizes[:, None]


class EmbeddingBag(Rule, functions=[F.embedding_bag]):
    """y_b = the sum, mean or maximum (each column by itself) of the rows of w (V, D) in bag b, y (B, D).

    The integers x are (B, L), a bag a row, or (N) with `offsets`, the start of each bag. `per_sample_weights` s
    multiply the rows of a sum. `padding_idx` is in no bag and not counted; an empty bag gives 0.
    Derivation. With c_n = s_n or 1 for a sum, 1 / size for a mean, y_b = sum_n c_n w_(x_n) over the members n, so
        dw_v = sum of c_n dy_b over all n with x_n = v,   ds_n = <dy_b, w_(x_n)>
    For a maximum all of dy_bd goes to the winner of column d. Convention at ties: the first of the largest.
    Contracts. The row `padding_idx` has the gradient 0; `scale_grad_by_freq` divides dw_v by the number of times that
    v is in the input; `max_norm` changes the table before it is read, see `Embedding`.
    Deviation of torch 2.13 on CPU: rows picked once are divided by the frequency of another one if frequencies are not
    all equal (https://github.com/pytorch/pytorch/issues/190063).
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        weight, square = torch.randn(5, 3), torch.tensor([[1, 4, 1], [0, 1, 2]])
        line, offsets = torch.tensor([1, 4, 1, 0, 3, 1, 2]), torch.tensor([0, 2, 2, 5])
        for mode in ("sum", "mean", "max"):
            yield case(f"{mode}, rows", square, weight, mode=mode)
            yield case(f"{mode}, offsets", line, weight, offsets, mode=mode)
            yield case(f"{mode}, empty at the end", line, weight, torch.tensor([0, 3, 7]), mode=mode)
            yield case(f"{mode}, one bag", line, weight, torch.tensor([0]), mode=mode, padding_idx=1)
            yield case(f"{mode}, last offset", line, weight, torch.tensor([0, 4, 7]), None, 2, False, mode,
                       include_last_offset=True)  # fmt: skip
            yield case(f"{mode}, padding", line, weight, offsets, mode=mode, padding_idx=-1)
            yield case(f"{mode}, all padding", torch.full((2, 3), 4), weight, mode=mode, padding_idx=4)
            yield case(f"{mode}, no longer than", square, weight, None, 0.5, mode=mode, smooth=False)
        yield case("default", square.int(), weight)
        for mode in ("sum", "mean"):
            yield case(f"{mode}, by frequency", torch.tensor([1, 3, 0, 1, 0, 3]), weight, offsets, None, 2, True, mode,
                       padding_idx=3, smooth=False)  # fmt: skip
        yield case("max, ties", square, torch.randint(2, (5, 3)).float(), mode="max", smooth=False)
        yield case("weights of rows", square, weight, mode="sum", per_sample_weights=torch.randn(2, 3))
        yield case("weights", line, weight, offsets, mode="sum", per_sample_weights=torch.randn(7), padding_idx=1)

    @staticmethod
    def contract(padding_idx: int | None, **arguments: Any) -> str:
        # The padding is left out of the bag itself, so that its gradient of 0 is the derivative.
        return Embedding.contract(padding_idx=None, **arguments)

    @staticmethod
    def kinks(**arguments: Any) -> int:
        y, (_, row, member, rows, share, *_) = EmbeddingBag.forward(**arguments)
        if share.shape != rows.shape:  # no maximum
            return 0
        winner = (share * row[..., None]).sum(1, keepdim=True)  # (B, 1, D)
        other = member[..., None] & (row[..., None] != winner)
        return int(((rows == y[:, None]) & other).any(1).sum())

    @staticmethod
    def forward(
        input: Tensor,
        weight: Tensor,
        offsets: Tensor | None = None,
        max_norm: float | None = None,
        norm_type: float = 2,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        per_sample_weights: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> tuple[Tensor, Any]:
        place, member = bags(input, offsets, include_last_offset)
        flat = input.reshape(-1)
        row = flat[place]  # (B, L)
        if padding_idx is not None:
            member = member & (row != padding_idx % len(weight))
        rows = shortened(flat, weight, max_norm, norm_type)[row]  # (B, L, D)
        share = member.to(weight.dtype)
        if mode == "mean":
            share = share / share.sum(1, keepdim=True).clamp_min(1)
        if per_sample_weights is not None:
            share = share * per_sample_weights.reshape(-1)[place]
        if mode == "max":
            winner = torch.where(member[..., None], rows, -torch.inf).argmax(1, keepdim=True)  # (B, 1, D)
            y = torch.where(member.sum(1, keepdim=True) > 0, rows.gather(1, winner)[:, 0], 0)
            first = winner == torch.arange(row.shape[1], device=row.device)[:, None]  # (B, L, D)
            share = (first & member[..., None]).to(weight.dtype)
        else:
            y = torch.einsum("bl,bld->bd", share, rows)
            share = share[..., None]
        if scale_grad_by_freq:
            share = share / occurrences(flat, weight)[row][..., None]
        return y, (place, row, member, rows, share, weight, per_sample_weights)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        place, row, member, rows, share, weight, per_sample_weights = cache
        dweight = torch.zeros_like(weight).index_add(0, row.flatten(), (share * dy[:, None]).flatten(0, 1))
        if per_sample_weights is None:
            return None, dweight
        along = torch.where(member, torch.einsum("bd,bld->bl", dy, rows), 0)
        zeros = dy.new_zeros(per_sample_weights.numel())
        dsamples = zeros.index_add(0, place.flatten(), along.flatten()).reshape(per_sample_weights.shape)
        return None, dweight, *[None] * 6, dsamples

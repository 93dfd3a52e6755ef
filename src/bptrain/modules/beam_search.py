"""Beam search: the sequence that a network finds most probable, step by step with the best few beginnings."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bptrain.data.dataset import END, PAD

State = tuple[Tensor, ...]  # of a recurrent network, each (L, N, H)


def beam_search(
    step: Callable[[Tensor, State], tuple[Tensor, State]],
    state: State,
    beam: int,
    steps: int,
    length_penalty: float = 0.0,
) -> Tensor:
    """Tokens (B, steps), PAD after their end, for a state of L layers (L, B, H).

    Found is the y of at most steps - 1 tokens with the highest log p(y) / n^length_penalty, where n counts them and
    END, among those that the beam has: of each length the `beam` most probable, ended or not, that continue the ones
    before. A beam of one is greedy decoding. step(tokens (B, beam), state) gives log p of each next token,
    (B, beam, V), and the next state, with the beam of one example after that of another. It ends when no beginning can
    become better than what is found: log p falls with each token. Graves, "Sequence Transduction with Recurrent Neural
    Networks" (2012); divided by the length as in Cho et al., "On the Properties of Neural Machine Translation" (2014).
    """
    state = tuple(s.repeat_interleave(beam, 1) for s in state)  # (L, B * beam, H)
    B, device = state[0].shape[1] // beam, state[0].device
    rows = torch.arange(B, device=device)
    last = torch.full((B, beam), END, device=device)
    live = torch.full((B, beam), -math.inf, device=device)  # log p of the beginnings that have not ended
    live[:, 0] = 0
    written = torch.full((B, beam, steps), PAD, device=device)
    found, best = written[:, 0].clone(), torch.full((B,), -math.inf, device=device)
    for i in range(steps):
        logs, state = step(last, state)  # (B, beam, V)
        barred = torch.ones_like(logs[0, 0], dtype=torch.bool)
        if i < steps - 1:
            barred[PAD + 1 :] = False
        barred[END] = False
        logs = logs.float().masked_fill(barred, -math.inf)
        live, chosen = (live[..., None] + logs).flatten(1).topk(beam)  # (B, beam)
        parent, last = chosen // logs.shape[-1], chosen % logs.shape[-1]
        state = tuple(s[:, (rows[:, None] * beam + parent).flatten()] for s in state)
        written = written[rows[:, None], parent]
        ended = last == END
        written[..., i] = last.masked_fill(ended, PAD)
        score, which = (live / (i + 1) ** length_penalty).masked_fill(~ended, -math.inf).max(1)  # (B)
        found = torch.where((score > best)[:, None], written[rows, which], found)
        best = best.maximum(score)
        live = live.masked_fill(ended, -math.inf)
        if (live.amax(1) / steps**length_penalty <= best).all():
            break
    return found

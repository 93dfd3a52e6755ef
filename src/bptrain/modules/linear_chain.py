"""Linear-chain conditional random fields (Lafferty, McCallum and Pereira 2001): which tags go with a sequence.

The score of the tags y_1 .. y_T of a sequence x is s(x, y) = a_y1 + sum_t e_t,yt + sum_t W_y(t-1),yt + b_yT, where the
emissions e are features of x, and a, W and b are learned. p(y | x) = exp(s(x, y)) / Z(x), Z summing over all y.
emissions (B, T, K), tags (B, T), there (B, T) true up to the end of each sequence, which has one step at least.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bptrain.data.dataset import IGNORED, PAD

ROWS = 64  # whose paths are searched at a time: K * K numbers for each of them


class Chain(NamedTuple):
    """Scores of the tags of each step, and those of the chain, the same for all rows: the first axis counts none."""

    emissions: Tensor  # (B, T, K)
    start: Tensor  # (1, K)
    transitions: Tensor  # (1, K, K), from a tag to the next
    end: Tensor  # (1, K)


def log_partition(chain: Chain, there: Tensor) -> Tensor:
    """log Z (B), by the forward algorithm: alpha_1 = a + e_1, alpha_t,j = e_t,j + log sum_i exp(alpha_(t-1),i + W_ij).

    The sum is a product of matrices after the largest alpha of the row and the largest W of the column have been taken
    out, so nothing overflows, and nothing of weight is lost while W and the emissions of a step each spread by less
    than about 40; what would be below the smallest number counts as that, so that the logarithm is finite.
    """
    emissions, start, transitions, end = chain
    top = transitions[0].amax(0)  # (K)
    weights = (transitions[0] - top).exp()
    alpha = start[0] + emissions[:, 0]
    for t in range(1, int(there.sum(1).max())):
        most = alpha.amax(1, keepdim=True)  # (B, 1)
        sums = (alpha - most).exp() @ weights  # (B, K)
        following = sums.clamp_min(torch.finfo(sums.dtype).tiny).log() + most + top + emissions[:, t]
        alpha = torch.where(there[:, t, None], following, alpha)
    return torch.logsumexp(alpha + end[0], 1)


def path_score(chain: Chain, tags: Tensor, there: Tensor) -> Tensor:
    """s(x, y) (B) of the tags y; those after the end do not count."""
    emissions, start, transitions, end = chain
    tags = tags.where(there, 0)
    last = tags.gather(1, there.sum(1, keepdim=True) - 1)[:, 0]
    own = emissions.gather(2, tags[..., None])[..., 0]  # (B, T)
    moves = transitions[0][tags[:, :-1], tags[:, 1:]]  # (B, T - 1)
    inside = own.where(there, 0).sum(1) + moves.where(there[:, 1:], 0).sum(1)
    return start[0][tags[:, 0]] + inside + end[0][last]


def best_path(chain: Chain, there: Tensor) -> Tensor:
    """The tags (B, T) of the highest score, IGNORED after the end, by the algorithm of Viterbi (1967).

    It is the forward algorithm with the largest term for the sum; which tag it came from is then followed back.
    """
    emissions, start, transitions, end = chain
    longest = int(there.sum(1).max())
    best = start[0] + emissions[:, 0]
    came_from = []
    for t in range(1, longest):
        most, origin = (best[:, :, None] + transitions[0]).max(1)  # (B, K, K) -> (B, K)
        lasts = there[:, t, None]
        best = torch.where(lasts, most + emissions[:, t], best)
        came_from.append(torch.where(lasts, origin, torch.arange(origin.shape[1], device=origin.device)))
    tags = [(best + end[0]).argmax(1)]
    for origin in reversed(came_from):
        tags.append(origin.gather(1, tags[-1][:, None])[:, 0])
    path = torch.stack(tags[::-1], 1)  # (B, longest)
    found = torch.full(there.shape, IGNORED, device=path.device)
    found[:, :longest] = path
    return found.where(there, IGNORED)


class LinearChain(nn.Module):
    """(B, *shape) -> Chain, the emissions by the network `features`; predict(x) -> the best tags (B, T)."""

    def __init__(self, features: nn.Module, tags: int) -> None:
        super().__init__()
        self.features = features
        self.start = nn.Parameter(torch.zeros(tags))
        self.transitions = nn.Parameter(0.01 * torch.randn(tags, tags))  # no two the same, so that none are tied
        self.end = nn.Parameter(torch.zeros(tags))

    def forward(self, x: Tensor) -> Chain:
        return Chain(self.features(x), self.start[None], self.transitions[None], self.end[None])

    def predict(self, x: Tensor) -> Tensor:
        chain = self(x)
        steps = chain.emissions.shape[:2]
        there = torch.ones(steps, dtype=torch.bool, device=x.device) if x.is_floating_point() else x != PAD
        rows = zip(chain.emissions.split(ROWS), there.split(ROWS), strict=True)
        return torch.cat([best_path(chain._replace(emissions=e), m) for e, m in rows])


class ChainLikelihood(nn.Module):
    """The mean over the rows of -log p(y | x) = log Z(x) - s(x, y); tags that are IGNORED come after the end.

    TypeError for an output that is no Chain.
    """

    def forward(self, chain: Chain, tags: Tensor) -> Tensor:
        if isinstance(chain, Tensor):
            raise TypeError("loss=crf needs scores of a chain, as model=crf gives them")
        chain, there = Chain(*chain), tags != IGNORED
        return (log_partition(chain, there) - path_score(chain, tags, there)).mean()

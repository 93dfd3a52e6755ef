"""The step of a run that several processes train: each takes its rows of every batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bptrain.data.dataset import Part
from bptrain.train.batch_norm import GlobalBatchNorm
from bptrain.train.distributed import Ranks, replicated
from bptrain.train.division import Division
from bptrain.train.engine import Eager
from bptrain.train.state import State

UNFUSED = (torch.optim.SGD, torch.optim.Adagrad)  # whose kernels torch lacks for shards


class Share(list[Tensor]):
    """A rank's rows of each batch of a step; `whole` are the batches, `counts` how many of the rows are its own.

    A rank that has no row of a small batch takes its first one, which does not count.
    """

    def __init__(self, whole: list[Tensor], ranks: Ranks) -> None:
        own = [batch.tensor_split(ranks.size)[ranks.rank] for batch in whole]
        super().__init__(part if len(part) else batch[:1] for part, batch in zip(own, whole, strict=True))
        self.whole, self.counts = whole, [len(part) for part in own]


def divided(steps: list[list[Tensor]], ranks: Ranks | None) -> list[list[Tensor]]:
    """The steps with this rank's rows of each batch: all of them for a process alone."""
    return steps if ranks is None else [Share(step, ranks) for step in steps]


def whole(step: list[Tensor]) -> list[Tensor]:
    """The batches of a step, with the rows of all ranks."""
    return step.whole if isinstance(step, Share) else step


class Parallel(Eager):
    """The eager step on the rows of this rank, by a `module` that averages gradients over the ranks.

    The model is the same on all ranks, or sharded already.
    """

    def __init__(
        self,
        state: State,
        loss: nn.Module,
        part: Part,
        clip: float | None,
        casts: AbstractContextManager[object],
        ranks: Ranks,
        division: Division,
    ) -> None:
        super().__init__(state, loss, part, clip, casts)
        self.ranks = ranks
        self.module = state.model if ranks.sharded else replicated(state.model, division.unused)
        if ranks.sharded and isinstance(self.optimizer, UNFUSED):
            for group in self.optimizer.param_groups:
                group |= {kernel: False for kernel in ("fused", "foreach") if kernel in group}
        self.together = GlobalBatchNorm() if division.normalizing and ranks.size > 1 else nullcontext()

    def _loss(self, batch: Tensor) -> Tensor:
        with self.casts, self.together:
            return self.loss(self.module(self.inputs.index_select(0, batch)), self.targets.index_select(0, batch))

    def _gradient(self, batches: Sequence[Tensor]) -> Tensor:
        """As a process alone: of n rows in all, b rows of a rank count b/n, times the ranks that are averaged over."""
        share = cast("Share", batches)
        rows, last = sum(map(len, share.whole)), len(share) - 1
        total = torch.zeros((), device=self.inputs.device)
        for i, (batch, count) in enumerate(zip(share, share.counts, strict=True)):
            with self._sent(i == last):
                loss = self._loss(batch) * (count * self.ranks.size / rows)
                loss.backward()
            total = total + loss.detach()  # in the dtype of the loss
        dist.all_reduce(total)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        return total / self.ranks.size

    def _sent(self, now: bool) -> AbstractContextManager[object]:
        """Gradients are added up over the ranks once in a step, with those of its last batch."""
        if self.ranks.sharded:
            self.module.set_requires_gradient_sync(now)  # type: ignore[operator]
            return nullcontext()
        return nullcontext() if now else self.module.no_sync()  # type: ignore[operator]

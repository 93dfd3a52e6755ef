"""The loss of conditional random fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bptrain.data.dataset import Dataset, Task
from bptrain.losses.loss import Loss

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class CRFLoss(Loss, name="crf"):
    """Minus the logarithm of the probability that model=crf gives the tags of a sequence, the mean over sequences.

    Its gradient by each score is the count that is expected of it, minus the one observed (Lafferty, McCallum and
    Pereira 2001).
    """

    tasks: ClassVar[tuple[Task, ...]] = ("tagging",)

    def output_shape(self, dataset: Dataset) -> None:
        return None

    def build(self, dataset: Dataset) -> nn.Module:
        from bptrain.modules.linear_chain import ChainLikelihood

        return ChainLikelihood()

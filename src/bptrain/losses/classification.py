"""Losses of classes: cross-entropy with a softmax over the classes, or of one yes or no for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bptrain.config.component import setting
from bptrain.data.dataset import IGNORED, PAD, Dataset, Task
from bptrain.errors import Problem, RequestError
from bptrain.losses.loss import Loss

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class CrossEntropy(Loss, name="cross_entropy"):
    """Minus the logarithm of the target class's softmax; in tagging and transduction the mean over a batch's tokens.

    With weights, the mean of a batch is weighted: its sum is divided by the sum of its targets' weights.
    https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
    """

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "tagging", "transduction")

    weight: Literal["balanced"] | tuple[float, ...] | None = setting(
        None, "weight of each class, or balanced: inverse to its frequency in training", minimum=0
    )
    label_smoothing: float = setting(0.0, "share of each target spread evenly over all classes", minimum=0, maximum=1)

    def build(self, dataset: Dataset) -> nn.Module:
        import torch
        from torch import nn

        from bptrain.modules.token_cross_entropy import TokenCrossEntropy

        weight = None
        if self.weight == "balanced":
            weight = _balanced(dataset)
        elif self.weight is not None:
            if len(self.weight) != dataset.outputs:
                what = f"has {len(self.weight)} entries for the {dataset.outputs} classes of {dataset.name}."
                raise RequestError(Problem("loss.weight", what))
            weight = torch.tensor(self.weight)
            if not weight[_classes(dataset)].any():
                what = "no class of the training part has a weight above 0."
                raise RequestError(Problem("loss.weight", what, "Write one, or null."))
        kind = nn.CrossEntropyLoss if dataset.task == "classification" else TokenCrossEntropy
        return kind(weight, ignore_index=_ignored(dataset), label_smoothing=self.label_smoothing)


def _ignored(dataset: Dataset) -> int:
    """The target that is none."""
    return PAD if dataset.task == "transduction" else IGNORED


def _classes(dataset: Dataset) -> Tensor:
    """The class of each training example, or of each of its tokens (N,)."""
    targets = dataset.parts["train"].targets
    return targets[targets != _ignored(dataset)]


def _balanced(dataset: Dataset) -> Tensor:
    """N / (K n_k) for class k, where n_k of the N training examples are of the K classes: 1 if all are as frequent.

    King and Zeng 2001; scikit-learn's class_weight="balanced".
    """
    targets = _classes(dataset)
    counts = targets.bincount(minlength=dataset.outputs)
    if not counts.all():
        absent = [name for name, count in zip(dataset.classes, counts.tolist(), strict=True) if not count]
        what = f"balanced has no weight for classes without a training example: {', '.join(absent)}."
        raise RequestError(Problem("loss.weight", what, "Write the weights as a list, or null."))
    return len(targets) / (dataset.outputs * counts)


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss, name="bce"):
    """Cross-entropy of independent yes-or-no questions, from logits: "is it class k?", averaged over the questions.

    In multilabel each label is a question. Two classes are one, "is it the second?", and the model has one output.
    https://pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
    """

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "multilabel")

    pos_weight: float | tuple[float, ...] | None = setting(
        None, "weight of the answer yes, one or one for each output", above=0
    )

    def outputs(self, dataset: Dataset) -> int:
        return 1 if dataset.outputs == 2 and dataset.task == "classification" else dataset.outputs

    def build(self, dataset: Dataset) -> nn.Module:
        import torch
        from torch import nn

        from bptrain.modules.one_versus_rest import OneVersusRest

        if isinstance(self.pos_weight, tuple) and len(self.pos_weight) != self.outputs(dataset):
            what = f"has {len(self.pos_weight)} entries for {self.outputs(dataset)} outputs."
            raise RequestError(Problem("loss.pos_weight", what, "Write one for each, or a single number for all."))
        kind = nn.BCEWithLogitsLoss if dataset.task == "multilabel" else OneVersusRest
        return kind(pos_weight=None if self.pos_weight is None else torch.tensor(self.pos_weight))

"""Optimizer: the base of every rule by which gradients change weights."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from bptrain.config.component import Component

if TYPE_CHECKING:
    import torch
    from torch.nn import Parameter

L2 = "L2 penalty: this times the weight is added to the gradient"


class Optimizer(Component, abc.ABC, group="optimizer"):
    """Settings of a rule by which gradients change weights.

    `full_batch`: a step needs the gradient over the whole training part. `closure`: its step takes a closure
    that computes the loss and the gradients anew. `line_search`: it finds the length of a step by itself, and has no
    learning rate.
    """

    full_batch: ClassVar[bool] = False
    closure: ClassVar[bool] = False
    line_search: ClassVar[bool] = False

    @abc.abstractmethod
    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""


class TorchOptimizer(Optimizer):
    """A subclass bears the name of a class of torch.optim, and its fields are arguments of that class.

    `kernel` is the argument that makes torch take its fastest way through the parameters of a small network on a CPU.
    Time of a step for 64-128-128-128-10, over that of torch's loop over the parameters: fused 0.3 for adam and adamw,
    0.4 for adagrad, 0.5 for sgd with momentum; foreach 0.7 for radam, 0.8 for adadelta, adamax, rmsprop, 0.9 for
    nadam, 1.0 for rprop. adafactor and asgd lose by it (1.1, 1.5): without `kernel`, torch loops on a CPU.
    """

    kernel: ClassVar[dict[str, Any]] = {}

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        import torch

        return getattr(torch.optim, type(self).__name__)(parameters, **vars(self), **self.kernel)

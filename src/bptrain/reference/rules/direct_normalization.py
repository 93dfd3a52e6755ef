"""torch's own normalizations, below torch.nn.functional: the same formulas, their arguments in another order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case
from bptrain.reference.rules.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm


class DirectBatchNorm(Rule, functions=[torch.batch_norm]):
    """As `BatchNorm`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        x, weight, bias, mean = torch.randn(3, 2, 4), *torch.randn(3, 2).unbind()
        yield case("training", x, weight, bias, None, None, True, 0.1, 1e-5, False)
        constant = ("running_mean", "running_var")
        yield case("evaluation", x, weight, bias, mean, mean.exp(), False, 0.1, 0.01, True, constant=constant)

    @staticmethod
    def forward(
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
        cudnn_enabled: bool,
    ) -> tuple[Tensor, Any]:
        return BatchNorm.forward(input, running_mean, running_var, weight, bias, training, momentum, eps)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dx, _, _, dweight, dbias = BatchNorm.backward(cache, dy)
        return dx, dweight, dbias


class DirectInstanceNorm(Rule, functions=[torch.instance_norm]):
    """As `InstanceNorm`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        x, weight, bias, mean = torch.randn(3, 2, 4), *torch.randn(3, 2).unbind()
        yield case("statistics of each", x, weight, bias, None, None, True, 0.1, 1e-5, False)
        constant = ("running_mean", "running_var")
        yield case("running", x, weight, bias, mean, mean.exp(), False, 0.1, 0.01, True, constant=constant)

    @staticmethod
    def forward(
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        use_input_stats: bool,
        momentum: float,
        eps: float,
        cudnn_enabled: bool,
    ) -> tuple[Tensor, Any]:
        return InstanceNorm.forward(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dx, _, _, dweight, dbias = InstanceNorm.backward(cache, dy)
        return dx, dweight, dbias


class DirectGroupNorm(Rule, functions=[torch.group_norm]):
    """As `GroupNorm`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("groups", torch.randn(2, 6, 3), 3, *torch.randn(2, 6).unbind(), 0.01, cudnn_enabled=False)

    @staticmethod
    def forward(
        input: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
        cudnn_enabled: bool = True,
    ) -> tuple[Tensor, Any]:
        return GroupNorm.forward(input, num_groups, weight, bias, eps)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return GroupNorm.backward(cache, dy)


class DirectLayerNorm(Rule, functions=[torch.layer_norm]):
    """As `LayerNorm`."""

    @staticmethod
    def cases() -> Iterable[Case]:
        yield case("last axis", torch.randn(2, 3, 4), (4,), *torch.randn(2, 4).unbind(), 0.01, cudnn_enable=False)

    @staticmethod
    def forward(
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
        cudnn_enable: bool = True,
    ) -> tuple[Tensor, Any]:
        return LayerNorm.forward(input, normalized_shape, weight, bias, eps)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return LayerNorm.backward(cache, dy)

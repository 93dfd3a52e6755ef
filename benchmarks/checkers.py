"""The other gradient checks: torch's gradcheck, slow and fast, and one random projection."""

from __future__ import annotations

import copy
import sys
import warnings
from collections import Counter
from dataclasses import dataclass, field
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck
from torch.func import functional_call

STEP = 1e-4
TOLERANCE = {torch.float64: 1e-5, torch.float32: 2e-3, torch.bfloat16: 1e-1}


@dataclass
class Function:
    """What a network computes, as a function of the tensors `at`; counts its passes in either direction."""

    network: nn.Module
    inputs: Tensor
    dtype: torch.dtype
    passes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.network = copy.deepcopy(self.network).to(self.dtype)
        given = [p.detach().clone() for p in self.network.parameters()]
        self.inputs = self.inputs.to(self.dtype) if self.inputs.is_floating_point() else self.inputs
        given += [self.inputs.clone()] if self.inputs.is_floating_point() else []
        self.at = [x.requires_grad_() for x in given]

    def __call__(self, *given: Tensor) -> Tensor:
        names = [name for name, _ in self.network.named_parameters()]
        # A network that overwrites a parameter shall not overwrite what it was given.
        parameters = {name: x.clone() for name, x in zip(names, given, strict=False)}
        torch.manual_seed(0)
        y = functional_call(self.network, parameters, given[len(names)] if len(given) > len(names) else self.inputs)
        self.passes["forward"] += 1
        if y.requires_grad:
            y.register_hook(self._backward)
        return y

    def _backward(self, gradient: Tensor) -> None:
        self.passes["backward"] += 1


def slow(function: Function) -> bool:
    """Whether gradcheck raises an alarm."""
    return _alarm(function)


def fast(function: Function) -> bool:
    """The same in fast mode, without the run of the slow mode that only words the error."""
    with patch.object(sys.modules[gradcheck.__module__], "_run_slow_mode_and_get_error", lambda *_, **__: ""):
        return _alarm(function, fast_mode=True)


def _alarm(function: Function, **options: bool) -> bool:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not a double precision floating point")
        try:
            gradcheck(function, function.at, **options)
        except GradcheckError:
            return True
    return False


def projection(function: Function) -> bool:
    """Whether one random direction raises an alarm, with the step and tolerances of jax.test_util.check_grads."""
    drawn = torch.Generator().manual_seed(0)

    def like(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=drawn, dtype=torch.float64).to(x.dtype)

    directions, y = [like(x) for x in function.at], function(*function.at)
    cotangent = like(y)
    gradients = torch.autograd.grad(y, function.at, cotangent, materialize_grads=True)
    claimed = sum((g * d).sum().item() for g, d in zip(gradients, directions, strict=True))
    ahead, behind = (
        function(*(x + h * d for x, d in zip(function.at, directions, strict=True))) for h in (STEP, -STEP)
    )
    found = ((ahead - behind) / (2 * STEP) * cotangent).sum().item()
    return not abs(claimed - found) <= TOLERANCE[function.dtype] * (1 + abs(found))

"""Updates: what an optimizer makes of a parameter, as a function of tensors alone, for programs and populations.

In torch.optim numbers such as a learning rate are Python's, and would be constants of a program. Here they are scalar
tensors: one program serves all steps, and stacked networks with other numbers each. The state is that of torch's
optimizer under torch's names, so that checkpoints, checks and torch's own step go on from it. Formulas are those of
https://docs.pytorch.org/docs/stable/optim.html, and `check` compares each with the reference.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

Group = Mapping[str, Any]  # options of a parameter group; numbers may be tensors of some shape, then all results are


class Update(abc.ABC):
    """The rule of an optimizer with the options `group`, whose words and switches hold for all that it is used for."""

    slots: tuple[str, ...]  # the tensors like the parameter in its state, by torch's names
    counts: bool = True  # whether that has the number of its steps too

    def __init__(self, group: Group) -> None:
        self.group = group
        self.decays = bool(torch.as_tensor(group["weight_decay"]).any())

    def begin(self, optimizer: Optimizer, parameter: Tensor) -> dict[str, Tensor]:
        """The state of a parameter, which torch's own step would begin with where there is none yet."""
        state = optimizer.state[parameter]
        if self.counts:  # on the device, as a program there can't count elsewhere
            count = state.get("step", torch.zeros((), dtype=torch.get_default_dtype()))
            state["step"] = count.to(parameter.device)
        for name in self.slots:
            if state.get(name) is None:
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return {name: state[name] for name in (*(["step"] if self.counts else []), *self.slots)}

    @abc.abstractmethod
    def numbers(self, group: Group, step: Any) -> list[Any]:
        """The numbers of step 1, 2, ... that `apply` takes."""

    @abc.abstractmethod
    def apply(self, w: Tensor, g: Tensor, state: dict[str, Tensor], numbers: Sequence[Tensor]) -> None:
        """Changes a parameter and its slots in place, `numbers` being scalars."""


class _SGD(Update):
    """v <- momentum v + g, w <- w - lr v; with nesterov w <- w - lr (g + momentum v).

    torch's first v is g, which that of zeros gives too.
    """

    counts = False

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self.moves = bool(torch.as_tensor(group["momentum"]).any())
        self.slots = ("momentum_buffer",) if self.moves else ()

    def numbers(self, group: Group, step: Any) -> list[Any]:
        return [group["lr"], group["weight_decay"], group["momentum"]]

    def apply(self, w: Tensor, g: Tensor, state: dict[str, Tensor], numbers: Sequence[Tensor]) -> None:
        lr, decay, momentum = numbers
        if self.decays:
            g = g + decay * w
        if self.moves:
            v = state["momentum_buffer"]
            v.mul_(momentum).add_(g)
            g = g + momentum * v if self.group["nesterov"] else v
        w.sub_(lr * g)


class _RMSprop(Update):
    """s <- alpha s + (1 - alpha) g^2, w <- w - lr g / (sqrt(s) + eps); centered takes the mean's square from s."""

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self.moves = bool(torch.as_tensor(group["momentum"]).any())
        momentum, centered = (("momentum_buffer",) if self.moves else ()), (("grad_avg",) if group["centered"] else ())
        self.slots = ("square_avg", *momentum, *centered)

    def numbers(self, group: Group, step: Any) -> list[Any]:
        alpha = group["alpha"]
        return [group["lr"], group["weight_decay"], alpha, 1 - alpha, group["eps"], group["momentum"]]

    def apply(self, w: Tensor, g: Tensor, state: dict[str, Tensor], numbers: Sequence[Tensor]) -> None:
        lr, decay, alpha, rest, eps, momentum = numbers
        state["step"].add_(1)
        if self.decays:
            g = g + decay * w
        square = state["square_avg"].mul_(alpha).add_(rest * g * g)
        if self.group["centered"]:
            mean = state["grad_avg"]
            mean.add_(rest * (g - mean))
            square = square - mean * mean
        g = g / (square.sqrt() + eps)
        if self.moves:
            g = state["momentum_buffer"].mul_(momentum).add_(g)
        w.sub_(lr * g)


class _Adam(Update):
    """m <- m + (1 - beta1) (g - m), v <- beta2 v + (1 - beta2) g^2, w <- w - a m / (b sqrt(v) + eps).

    With a = lr / (1 - beta1^t) and b = 1 / sqrt(1 - beta2^t) at step t. AdamW first takes lr weight_decay w from w.
    """

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self.slots = ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if group["amsgrad"] else ()))

    def numbers(self, group: Group, step: Any) -> list[Any]:
        lr, decay, (beta1, beta2) = group["lr"], group["weight_decay"], group["betas"]
        shrink = 1 - lr * decay if self.group["decoupled_weight_decay"] else decay
        a, b = lr / (1 - beta1**step), (1 - beta2**step) ** -0.5
        return [a, b, shrink, 1 - beta1, beta2, 1 - beta2, group["eps"]]

    def apply(self, w: Tensor, g: Tensor, state: dict[str, Tensor], numbers: Sequence[Tensor]) -> None:
        a, b, shrink, rest1, beta2, rest2, eps = numbers
        state["step"].add_(1)
        m, v = state["exp_avg"], state["exp_avg_sq"]
        if self.decays and self.group["decoupled_weight_decay"]:
            w.mul_(shrink)
        elif self.decays:
            g = g + shrink * w
        m.add_(rest1 * (g - m))
        v.mul_(beta2).add_(rest2 * g * g)
        if self.group["amsgrad"]:
            v = state["max_exp_avg_sq"].copy_(torch.maximum(state["max_exp_avg_sq"], v))
        w.sub_(a * m / (v.sqrt() * b + eps))


UPDATES: dict[type[Optimizer], type[Update]] = {SGD: _SGD, RMSprop: _RMSprop, Adam: _Adam, AdamW: _Adam}


def update_of(optimizer: Optimizer) -> Update | None:
    """The update of an optimizer; None where there is none of its kind, or for its options."""
    if type(optimizer) not in UPDATES or len(optimizer.param_groups) != 1:
        return None
    group = optimizer.param_groups[0]
    if group.get("maximize") or (group.get("dampening") and group.get("momentum")):
        return None
    return UPDATES[type(optimizer)](group)

"""Call: one call of a torch function as the tape holds it, with stand-ins for its tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from bptrain.reference.draws import Draws


@dataclass(frozen=True)
class Input:
    """Stands for a tensor among the arguments of a call: its position there and its variable."""

    position: int
    variable: int


@dataclass(frozen=True)
class Output:
    """Stands for a tensor in the result of a call."""

    position: int
    variable: int


@dataclass(eq=False)
class Call:
    """One call of a torch function, as it was made and as autograd went back through it."""

    function: Callable
    name: str
    path: str  # of the module that made the call, e.g. 'layers.0'
    source: str  # 'file:line' of the first line outside torch
    args: tuple  # with Input in place of each tensor
    kwargs: dict[str, Any]
    result: Any = None  # with Output in place of each tensor
    grad_mode: bool = True
    draws: Draws | None = None  # before the call
    autocast: torch.dtype | None = None  # what it was cast to, where it was
    wanted: set[int] = field(default_factory=set)  # positions of the inputs that autograd should send a gradient to
    shared: set[int] = field(default_factory=set)  # of these, whose gradient is that of other uses too
    input_gradients: dict[int, Tensor] = field(default_factory=dict)  # by position, what autograd sent back
    output_gradients: dict[int, Tensor] = field(default_factory=dict)  # by position, what autograd passed in
    differentiable: bool = False  # a result is part of autograd's graph
    twice: bool = False  # differentiated inside the forward pass, so that its gradients are those of two orders
    inner: list[Call] = field(default_factory=list)  # what the forward of a custom autograd.Function called
    inside: dict[int, int] = field(default_factory=dict)  # of a custom Function: output position -> variable inside
    scope: FrameType | None = None  # the `apply` of a custom autograd.Function that the call ran inside

    @cached_property
    def inputs(self) -> list[Input]:
        return [x for x in tree_flatten((self.args, self.kwargs))[0] if isinstance(x, Input)]

    @property
    def outputs(self) -> list[Output]:
        if isinstance(self.result, Output):  # as most are
            return [self.result]
        return [x for x in tree_flatten(self.result)[0] if isinstance(x, Output)]


@dataclass(frozen=True)
class Hole:
    """A differentiable tensor from nowhere on the tape: its node in autograd's graph, and where it was met."""

    node: str
    path: str
    source: str

"""Fault: a small honest network with one wrong gradient planted in it, and the network without."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd import Function

from bptrain import GradientReport


@dataclass(frozen=True)
class Fault:
    """`build(True)` has the fault, `build(False)` is its honest twin: the same network and weights, gradients right.

    `places` are the lines, as file:line, that name the fault: that of the wrong backward, or, for a fault in how calls
    are joined, those of the calls that it lies between. `path` is the module that makes the wrong call, where several
    make the same one. `joint` says that no call is wrong by itself.
    """

    name: str
    wrong: str
    build: Callable[[bool], nn.Module]
    inputs: Tensor
    places: tuple[str, ...]
    path: str | None = None
    joint: bool = False

    def blamed(self, report: GradientReport) -> bool:
        """Whether a report names the place of the fault, exactly one call for one in a call, and nothing else."""
        if self.joint:
            said = [str(found) for found in report.wiring]
            named = all(re.search(rf"{place}\b", words) for words in said for place in self.places)
            return bool(said) and named and not report.culprits
        if len(report.culprits) != 1 or report.wiring:
            return False
        (call,) = report.culprits
        return Path(call.source).name == self.places[0] and self.path in (None, call.path)


def in_backward(
    bad: type[Function], around: Callable[[type[Function]], nn.Module], inputs: Tensor, path: str | None = None
) -> Fault:
    """The fault of a Function whose base class has the same forward and the right backward.

    `around` makes the network that calls a Function.
    """

    def build(faulty: bool) -> nn.Module:
        torch.manual_seed(1)
        return around(bad if faulty else bad.__mro__[1])

    code = bad.backward.__code__
    place = f"{Path(code.co_filename).name}:{code.co_firstlineno}"
    return Fault(bad.__name__, _words(bad), build, inputs, (place,), path)


def in_wiring(network: type[nn.Module], inputs: Tensor, *lines: str, joint: bool = True) -> Fault:
    """The fault of a module class that takes whether it is faulty; `lines` are parts of the lines of its `forward`."""

    def build(faulty: bool) -> nn.Module:
        torch.manual_seed(1)
        return network(faulty)

    source, first = inspect.getsourcelines(network.forward)
    numbers = [first + next(i for i, text in enumerate(source) if line in text) for line in lines]
    places = tuple(f"{Path(inspect.getfile(network)).name}:{number}" for number in numbers)
    return Fault(network.__name__, _words(network), build, inputs, places, joint=joint)


def _words(named: object) -> str:
    return (inspect.getdoc(named) or "").rstrip(".")

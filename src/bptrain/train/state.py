"""State: all that a run needs to go on from where it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bptrain.schedulers import Schedule


@dataclass(frozen=True)
class Snapshot:
    """A state as it was: the tensors of the model and of the optimizer by name, and the rest as plain data.

    In the rest, {"tensor": name} stands for a tensor of the optimizer.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    generators: dict[str, Tensor]
    rest: dict[str, Any]

    def full(self) -> Snapshot:
        """The same with what is sharded put together on the CPU; each process must call it then."""

        def joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: x if (y := full(x)) is x else y.cpu() for name, x in tensors.items()}

        return replace(self, model=joined(self.model), optimizer=joined(self.optimizer))


@dataclass
class State:
    """What training changes. The engine advances it, checkpoints write it, the check starts from it.

    `generator` is what dropout draws from on a CPU: torch's own, those of which for other devices belong to the state
    too. The position in the data order is (epoch, step), since the order is a function of seed and epoch. `score` is
    the best monitored value so far, lower better, with its loss; `best` is the state at that time.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    generator: torch.Generator = torch.default_generator
    epoch: int = 0
    step: int = 0
    score: tuple[float, float] = (math.inf, math.inf)
    best: Snapshot | None = None
    best_epoch: int = 0
    best_step: int = 0
    stale: int = 0  # evaluations since the monitored value got better

    def improved(self, value: float, loss: float) -> bool:
        """Takes in a monitored value, lower is better; True when the state is the best so far, which NaN never is.

        Of two states of equal value the one with the lower loss is better: on a small part many epochs share an
        accuracy. `stale` counts on all the same.
        """
        score, first = (value, loss), self.best is None and not math.isnan(value)
        self.stale = 0 if first or score[0] < self.score[0] else self.stale + 1
        if not first and not score < self.score:
            return False
        self.score, self.best_epoch, self.best_step = score, self.epoch, self.step
        self.best = self.snapshot()
        return True

    def snapshot(self) -> Snapshot:
        """A copy of the state, on the device where it is."""
        tensors: dict[str, Tensor] = {}
        rest = {
            "epoch": self.epoch,
            "step": self.step,
            "best": {"score": self.score, "epoch": self.best_epoch, "step": self.best_step, "stale": self.stale},
            "optimizer": _plain(self.optimizer.state_dict(), "", tensors),
            "scheduler": self.schedule.state_dict(),
        }
        model = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        generators = {"torch": self.generator.get_state()}
        if torch.cuda.is_initialized():
            generators |= {f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
        return Snapshot(model, tensors, generators, rest)


def full(tensor: Tensor) -> Tensor:
    """The tensor that shards on several processes are parts of, each of which must call it; others as they are."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _plain(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON has it, copies of its tensors put into `tensors` under the path that leads to them."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {str(k): _plain(v, f"{name}.{k}" if name else str(k), tensors) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]
    return value

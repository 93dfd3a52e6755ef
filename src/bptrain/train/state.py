"""State: all that a run needs to go on from where it is."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
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
    too. The position in the data order is (epoch, within), since the order is a function of seed and epoch. `score` is
    the best monitored value so far, lower better, with its loss; `best` is the state at that time. While something
    changes it, it is not `current`: part of it belongs to the next step already.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    generator: torch.Generator = torch.default_generator
    epoch: int = 0
    step: int = 0
    within: int = 0  # steps made in this epoch
    total: Tensor | None = None  # () the sum of their losses
    lr: float = math.nan  # of the last of them
    left_out: int = 0  # steps of this epoch that were not made, since they were not finite
    row: int = 0  # of these so many without another one between
    health: dict[str, Any] = field(default_factory=dict)  # what its monitor knows of earlier epochs
    current: bool = True
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
        self.best = self.snapshot(others=False)
        return True

    @torch.no_grad()
    def finite(self) -> bool:
        """Whether all parameters are, and no buffer is NaN; one that holds a mask can be infinite."""
        parameters: list[Tensor] = list(self.model.parameters())
        norms = torch.stack([norm.float() for norm in torch._foreach_norm(parameters)])
        # That of finite numbers can overflow.
        if not math.isfinite(norms.sum().item()) and not all(p.isfinite().all() for p in parameters):
            return False
        return not any(b.isnan().any() for b in self.model.buffers() if b.is_floating_point())

    def snapshot(self, others: bool = True) -> Snapshot:
        """A copy of the state, on the device where it is; `others` with Python's and NumPy's generators, which take as
        long as all else of a small network."""
        tensors: dict[str, Tensor] = {}
        rest = {
            "epoch": self.epoch,
            "step": self.step,
            "within": self.within,
            "total": _plain(self.total, "total", tensors),
            "lr": self.lr,
            "left_out": [self.left_out, self.row],
            "health": _plain(self.health, "health", tensors),
            "best": {"score": self.score, "epoch": self.best_epoch, "step": self.best_step, "stale": self.stale},
            "optimizer": _plain(self.optimizer.state_dict(), "", tensors),
            "scheduler": self.schedule.state_dict(),
        }
        if others:
            rest |= {"python": random.getstate(), "numpy": _plain_numpy(np.random.get_state(legacy=True))}
        model = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        generators = {"torch": self.generator.get_state()}
        if torch.cuda.is_initialized():
            generators |= {f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
        return Snapshot(model, tensors, generators, rest)

    def restore(self, snapshot: Snapshot, best: Snapshot | None) -> None:
        """Takes up a state of such parts; `best` is the one that was the best so far. Raises what torch raises."""
        rest = snapshot.rest
        self.model.load_state_dict(snapshot.model)
        self.optimizer.load_state_dict(rebuilt(rest["optimizer"], snapshot.optimizer))
        for parameter, kept in self.optimizer.state.items():
            for key, value in kept.items():
                # torch's fused kernels take the layout of the parameter for granted, and a file has none
                if (
                    isinstance(value, Tensor)
                    and value.shape == parameter.shape
                    and value.stride() != parameter.stride()
                ):
                    kept[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        self.schedule.load_state_dict(rest["scheduler"])
        self.epoch, self.step, self.within, self.lr = (rest[key] for key in ("epoch", "step", "within", "lr"))
        self.left_out, self.row = rest["left_out"]
        device = next(self.model.parameters()).device
        total = rebuilt(rest["total"], snapshot.optimizer)
        self.total = None if total is None else total.to(device)
        self.health.update(rebuilt(rest["health"], snapshot.optimizer))
        told = rest["best"]
        self.score, self.best_epoch, self.best_step = tuple(told["score"]), told["epoch"], told["step"]
        self.best, self.stale = best, told["stale"]
        version, words, gauss = rest["python"]
        random.setstate((version, tuple(words), gauss))
        kind, words, *more = rest["numpy"]
        np.random.set_state((kind, np.array(words, dtype=np.uint32), *more))
        self.generator.set_state(snapshot.generators["torch"])
        for name, state in snapshot.generators.items():
            if name.startswith("cuda:") and torch.cuda.is_available():
                torch.cuda.set_rng_state(state, name)


def full(tensor: Tensor) -> Tensor:
    """The tensor that shards on several processes are parts of, each of which must call it; others as they are."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _plain_numpy(state: Any) -> list[Any]:
    kind, words, *more = state
    return [kind, words.tolist(), *more]


def rebuilt(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Plain data with its tensors put back, and numbers as keys where JSON has made text of them."""
    if isinstance(value, dict):
        if value.keys() == {"tensor"}:
            return tensors[value["tensor"]]
        return {int(key) if key.isdigit() else key: rebuilt(item, tensors) for key, item in value.items()}
    return [rebuilt(item, tensors) for item in value] if isinstance(value, list) else value


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

"""State: all that a run needs to go on from where it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.optim import Optimizer

from bptrain.schedulers import Schedule


@dataclass
class State:
    """What training changes. The engine advances it, checkpoints write it, the check starts from it.

    The generators belong to it too, but they are torch's own (`torch.get_rng_state`): dropout draws
    from there. The position in the data order is (epoch, step), since the order is a function of seed
    and epoch. `best` has the monitored value with lower better, `weights` are the model's at that time.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    epoch: int = 0
    step: int = 0
    best: tuple[float, float] = (math.inf, math.inf)  # monitored value and loss
    best_epoch: int = 0
    best_step: int = 0
    stale: int = 0  # evaluations since the best one
    weights: dict[str, Tensor] = field(default_factory=dict)

    def improved(self, value: float, loss: float) -> bool:
        """Takes in a monitored value, lower is better and NaN the worst; True when it is the best so far.

        Of two equal values the one with the lower loss is better: on a small part many epochs share an accuracy.
        """
        scored = (math.inf if math.isnan(value) else value, math.inf if math.isnan(loss) else loss)
        if not scored < self.best and self.weights:
            self.stale += 1
            return False
        self.best, self.best_epoch, self.best_step, self.stale = scored, self.epoch, self.step, 0
        self.weights = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        return True

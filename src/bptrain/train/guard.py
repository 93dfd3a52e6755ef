"""Guard: notices that a step is not finite, goes back to before it, and does what `fit.on_nonfinite` says.

A loss, a gradient or a weight that is NaN or infinite spoils all that comes after it. Looking at all of them at each
step would cost as much as a small network's step, so that the loss alone is looked at, and the weights now and then.
Once something is found, training goes back to a copy of its state that was fine and makes its steps again, looking at
everything after each: the same steps, since all that they depend on is in the state.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any, cast

from torch import Tensor

from bptrain.errors import RunFailed
from bptrain.train.choice import engine_of
from bptrain.train.nonfinite import Origin, origin
from bptrain.train.parallel import whole
from bptrain.train.record import NonFinite
from bptrain.train.run import Run
from bptrain.train.state import Snapshot

CURE = "Try a lower optimizer.lr, or fit.clip=1."
SHARE = 0.005  # of the time, at the most, that looking at weights and copying the state takes
IN_A_ROW = 10  # steps that may be left out one after the other
ONCE = "was not finite, and is when it is made again: a fault of the machine, or code that does not repeat itself."


def cure(found: NonFinite) -> str:
    """What to do about a step, as a sentence."""
    if found.origin.call.endswith(("its input", "its targets")):
        return "Look at these rows of the data."
    return "Look at the data and the settings of the model." if not found.step else f"Training diverged. {CURE}"


class Guard:
    """Watches over the steps of a run that one process trains.

    `told` and `epochs` are how far the records have come: steps and epochs that are made again up to there are not told
    again.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.reads = run.device.type == "cpu"  # elsewhere reading a loss waits for the device
        self.told = self.epochs = -1
        self.copy: tuple[Snapshot, Snapshot | None] | None = None  # a state that was fine, and the best one then
        self.next = 0.0  # when another copy is due
        self.until: int | None = None  # so many steps are made again, each looked at; None while all is fine
        self.made = 0  # steps, with the one that is not fine
        self.what = ""

    def damaged(self, last: bool = False) -> bool:
        """Before each step, and after the `last` of an epoch: whether an earlier one has spoiled the weights.

        Keeps a copy of the state when one is due.
        """
        start = time.perf_counter()
        if (self.until is None and start < self.next and not last) or self.run.ranks is not None:
            return False
        state = self.run.state
        self.made, self.what = state.step, "its weights are not finite"
        if self.until is None:
            if not state.finite():
                if self.copy is None:
                    what = "the weights are not finite before it, so that nothing can be learned."
                    raise RunFailed(f"step {state.step + 1}: {what}")
                return True
            if last and not self.reads and state.total is not None and not math.isfinite(state.total.item()):
                self.what = "a loss is not finite"
                return True
        elif state.step >= self.until:
            self.what = ONCE
            return True
        if not last:
            self.copy = state.snapshot(), state.best
            self.next = time.perf_counter() + (time.perf_counter() - start) / SHARE
        return False

    def broken(self, loss: Tensor | None) -> bool:
        """After each step, which has not been counted yet: whether it is not fine. None is a loss that is not."""
        if loss is not None and self.until is None and (not self.reads or math.isfinite(loss.item())):
            return False
        state = self.run.state
        self.made, self.what = state.step + 1, "its loss is not finite"
        if loss is None or not math.isfinite(loss.item()):
            return True
        named = [(name, p) for name, p in state.model.named_parameters() if p.requires_grad]
        gradients = [(f"the gradient of {name}", p.grad) for name, p in named if p.grad is not None]
        for what, tensor in (*gradients, *((f"{name} after it", p) for name, p in named)):
            if not tensor.isfinite().all():
                self.what = f"its loss is finite, and {what} is not"
                return True
        return False

    def back(self, step: list[Tensor]) -> NonFinite | None:
        """Goes back to before what was found; the step that was, or None where it is still to be found.

        RunFailed where several processes would have to go back together.
        """
        run, state = self.run, self.run.state
        if run.ranks is not None:
            raise RunFailed(f"step {self.made}: {self.what}. Training diverged. {CURE}")
        if self.what is ONCE:
            self.until = None
            return NonFinite(state.step, state.epoch, ONCE, Origin(), state.snapshot())
        assert self.copy is not None
        self.told, self.epochs = max(self.told, state.step), max(self.epochs, state.epoch)
        state.restore(*self.copy)
        self.copy = state.snapshot(), state.best  # the state has taken the other one's tensors
        self._renew()
        if self.until is None:
            self.until = self.made
            return None
        self.until = None
        return NonFinite(state.step, state.epoch, self.what, origin(run, whole(step)), *self.copy)

    def leave_out(self) -> None:
        """Counts a step as made that is not; for `restore` the best weights so far and a fresh optimizer go on.

        RunFailed where there are none, or too many steps have been left out one after the other.
        """
        state = self.run.state
        if state.row == IN_A_ROW:
            raise RunFailed(f"step {state.step + 1}: {IN_A_ROW} steps before it were left out already. {CURE}")
        if self.run.settings.fit.on_nonfinite == "restore":
            if state.best is None:
                raise RunFailed(f"step {state.step + 1}: no earlier weights have been evaluated. {CURE}")
            state.model.load_state_dict(state.best.model)
            state.optimizer.load_state_dict(state.optimizer.state_dict() | {"state": {}})
            self._renew()
        state.schedule.step()
        state.step, state.within = state.step + 1, state.within + 1
        state.left_out, state.row = state.left_out + 1, state.row + 1
        self.copy = state.snapshot(), state.best  # the step is not to be made again

    def _renew(self) -> None:
        """An engine for the tensors of an optimizer that was put back, which are other ones."""
        run, settings, chosen = self.run, self.run.settings, self.run.engine.chosen
        if chosen is not None and settings.fit.engine == "auto":
            settings = replace(settings, fit=replace(settings.fit, engine=cast(Any, chosen.engine)))
        part = run.dataset.parts["train"]
        run.engine = engine_of(settings, run.state, run.loss, part, run.casts, run.total_steps)

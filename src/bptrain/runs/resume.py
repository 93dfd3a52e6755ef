"""Resume: a run from its directory, in the state of its last checkpoint that is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from bptrain import files
from bptrain.config.compose import Config, settings_of
from bptrain.config.locked import ALLOW, locked
from bptrain.errors import Problem, RequestError
from bptrain.runs.directory import RunDirectory
from bptrain.runs.lock import changes, read_lock
from bptrain.runs.lock import lock as lock_of
from bptrain.runs.record import PROGRESS
from bptrain.train.checkpoint import Damaged, read
from bptrain.train.run import Run, build
from bptrain.train.state import Snapshot


@dataclass(frozen=True)
class Resumed:
    """A run as it was, how far its records had come (None at its start), and what was wrong with newer checkpoints."""

    run: Run
    config: Config
    progress: dict[str, Any] | None
    damaged: tuple[str, ...]


def resumed(directory: RunDirectory, words: Sequence[str] = ()) -> Resumed:
    """The run of a directory, which must be held. RequestError where it can't go on, or not as it was."""
    if link := next(files.links(directory.path), None):
        what = "is a link: what is written there would be written elsewhere."
        raise RequestError(Problem(str(link), what, "Put a copy in its place."))
    lock = read_lock(directory)
    if "distributed" in lock:  # each process drew from a generator of its own, and one checkpoint has that of the first
        what = "was trained by several processes, and can't go on exactly."
        raise RequestError(Problem(str(directory.path), what, "Train it again, or start from its weights."))
    config, allowed = locked(lock, words)
    settings = settings_of(config)
    chosen = lock.get("engine_chosen")
    if chosen and settings.fit.engine == "auto":  # what was measured once is not measured again
        settings = replace(settings, fit=replace(settings.fit, engine=lock["engine"]))
    run = build(settings)
    now = lock_of(config, run.settings, run.dataset.fingerprint, str(run.device))
    if changed := {name: text for name, text in changes(lock, now).items() if name not in allowed}:
        cure = "Write {}={} to go on with other bits."
        raise RequestError([Problem("resume", text, cure.format(ALLOW, name)) for name, text in changed.items()])
    damaged = []
    for folder, contents in directory.read_checkpoints("last"):
        try:
            made = read(contents)
            if not isinstance(made.progress, dict) or made.progress.keys() != PROGRESS:
                raise Damaged("state.json does not say how far the records had come.")
            _must_fit(run, made.snapshot)
            best = Snapshot(made.best, {}, {}, {}) if made.best else None
            run.state.restore(made.snapshot, best)
        except Damaged as error:
            if files.whole(folder):  # else the process ended while it wrote that, which was no checkpoint yet
                damaged.append(f"{folder}: {error}")
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            damaged.append(f"{folder}: does not belong to this run: {str(error).splitlines()[0]}")
        else:
            return Resumed(run, config, made.progress, tuple(damaged))
    if damaged:
        raise RequestError([Problem(text, "", "There is no other checkpoint.") for text in damaged])
    return Resumed(run, config, None, ())


def _must_fit(run: Run, snapshot: Snapshot) -> None:
    """Damaged when tensors of the optimizer are not of their parameters' shapes: kernels rely on it without looking."""
    optimizer = run.settings.optimizer
    if optimizer.closure or optimizer.name == "adafactor":  # whose shapes are others, and looked at by each call
        return
    parameters = [p for group in run.state.optimizer.param_groups for p in group["params"]]
    for number, kept in snapshot.rest["optimizer"]["state"].items():
        for key, value in kept.items():
            tensor = snapshot.optimizer[value["tensor"]] if isinstance(value, dict) else None
            if isinstance(tensor, Tensor) and tensor.numel() != 1 and tensor.shape != parameters[int(number)].shape:
                raise Damaged(f"{key} of the optimizer has the shape {tuple(tensor.shape)}.")

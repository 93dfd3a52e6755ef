"""Resume: a run from its directory, in the state of its last checkpoint that is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bptrain import files
from bptrain.config.compose import Config, settings_of
from bptrain.config.locked import ALLOW, locked
from bptrain.config.settings import Settings
from bptrain.errors import Problem, RequestError
from bptrain.runs.directory import RunDirectory
from bptrain.runs.lock import changes, read_lock
from bptrain.runs.lock import lock as lock_of
from bptrain.train.checkpoint import Damaged, read
from bptrain.train.compatible import largest, require_compatible
from bptrain.train.distributed import ranks_of
from bptrain.train.fit import steps_of
from bptrain.train.parallel import divided
from bptrain.train.run import Run, build
from bptrain.train.state import Snapshot

MEMBER = "population"  # the engine of one that trained with others


@dataclass(frozen=True)
class Resumed:
    """A run as it was, how far its records had come (None at its start), and what was wrong with newer checkpoints."""

    run: Run
    config: Config
    progress: dict[str, Any] | None
    damaged: tuple[str, ...]


def resumed(directory: RunDirectory, words: Sequence[str] = ()) -> Resumed:
    """The run of a directory, which must be held. RequestError where it can't go on, or not as it was."""
    lock = read_lock(directory)
    config, allowed = locked(lock, words)
    if lock.get("engine") == MEMBER and MEMBER not in allowed:
        what = f"is a member of a population: bptrain resume {directory.path.parent} goes on with all of it."
        cure = f"Write {ALLOW}={MEMBER} to go on with it alone, by the eager engine, which rounds otherwise."
        raise RequestError(Problem(str(directory.path), what, cure))
    settings = settings_of(config)
    chosen = lock.get("engine_chosen") and lock.get("engine") in ("eager", "compiled", "graph")
    if chosen and settings.fit.engine == "auto":  # what was measured once is not measured again
        settings = replace(settings, fit=replace(settings.fit, engine=lock["engine"]))
    _require_ranks(directory, lock.get("distributed"), settings)
    run = build(settings)
    if run.ranks is not None:  # after the first step gradients are sent in the order in which they come
        run.engine.step(divided(steps_of(run, 0), run.ranks)[0])
    now = lock_of(config, run.settings, run.dataset.fingerprint, str(run.device))
    if changed := {name: text for name, text in changes(lock, now).items() if name not in allowed}:
        cure = "Write {}={} to go on with other bits."
        raise RequestError([Problem("resume", text, cure.format(ALLOW, name)) for name, text in changed.items()])
    base, options = run.state.schedule.base, [dict(group) for group in run.state.optimizer.param_groups]
    damaged = []
    for folder, contents in directory.read_checkpoints("last", largest(run)):
        try:
            made = read(contents)
            require_compatible(run, made)
            best = Snapshot(made.best, {}, {}, {}) if made.best else None
            run.state.restore(made.snapshot, best)
            if run.ranks is not None and run.drawing:
                run.ranks.restore(made.snapshot.generators, run.device)
        except Damaged as error:
            if files.whole(folder):  # else the process ended while it wrote that, which was no checkpoint yet
                damaged.append(f"{folder}: {error}")
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
            said = next(iter(str(error).splitlines()), type(error).__name__)
            damaged.append(f"{folder}: does not belong to this run: {said}")
        else:
            _take_up(run, [name.removeprefix("optimizer.") for name in allowed], base, options)
            return Resumed(run, config, made.progress, tuple(damaged))
    if damaged:
        raise RequestError([Problem(text, "", "There is no other checkpoint.") for text in damaged])
    return Resumed(run if run.ranks is None else build(settings), config, None, ())


def _take_up(run: Run, names: list[str], base: list[float], options: list[dict[str, Any]]) -> None:
    """Gives the optimizer the options of such names that its config has now: a checkpoint has those of before."""
    for group, now in zip(run.state.optimizer.param_groups, options, strict=True):
        group.update({name: now[name] for name in names if name in now and name != "params"})
    if "lr" in names:
        run.state.schedule.base = base
        run.state.schedule.step(0)  # sets what is due with that


def _require_ranks(directory: RunDirectory, before: Any, settings: Settings) -> None:
    """RequestError unless a run goes on in as many processes as it was trained by."""
    place = str(directory.path)
    if settings.fit.strategy == "fsdp":
        what = "was trained by fit.strategy=fsdp, and can't go on exactly."
        raise RequestError(Problem(place, what, "Train it again, or start from its weights."))
    ranks = ranks_of(settings)
    was = before.get("world_size") if isinstance(before, dict) else None
    if was == (None if ranks is None else ranks.size):
        return
    cure = "Start it by itself." if was is None else f"Start torchrun --nproc-per-node {was} -m bptrain resume {place}."
    by, now = ("one process alone" if n is None else f"{n} processes of torchrun" for n in (was, ranks and ranks.size))
    raise RequestError(Problem(place, f"was trained by {by}, and this is {now}.", cure))

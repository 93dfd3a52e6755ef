"""The lock of a run: all that its result depends on, written before the first step."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bptrain.errors import Problem, RequestError
from bptrain.models.custom import Custom
from bptrain.runs.directory import RunDirectory

if TYPE_CHECKING:
    from bptrain.config.compose import Config
    from bptrain.config.settings import Settings

PACKAGES = ("bptrain", "torch", "numpy", "scikit-learn", "polars", "hydra-core", "omegaconf", "safetensors", "mnist1d")
FACTS = {  # that bits depend on, and where a lock has them
    "torch": ("versions", "torch"),
    "bptrain": ("versions", "bptrain"),
    "threads": ("threads",),
    "device": ("device",),
    "processor": ("machine", "cpu_capability"),
    "data": ("data", "fingerprint"),
    "code": ("code", "sha256"),
}
LONGEST = 1_000_000  # characters of the working tree's diff that are kept
# Of a submodule its commit alone: git would start itself there, with the settings of that repository.
DIFF = "diff --no-ext-diff --no-textconv --no-color --submodule=short --ignore-submodules=dirty HEAD".split()
FILTER = {"clean": "", "process": "", "smudge": "", "required": "false"}
# Nothing is fetched, asked for or written; a git that does not know one of these passes over it.
ALONE = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none", "GIT_TERMINAL_PROMPT": "0"}


def lock(config: Config, settings: Settings, fingerprint: str, device: str) -> dict[str, Any]:
    """The lock as plain data. Imports torch."""
    import torch

    return {
        "config": config.resolved,
        "config_hash": config_hash(config.resolved),
        "overrides": list(config.overrides),
        "data": {"fingerprint": fingerprint},
        "code": _code(settings),
        "seed": settings.seed,
        "threads": torch.get_num_threads(),
        "engine": "eager",
        "device": device,
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "cores": os.cpu_count(),
        },
        "git": _git(),
    }


def read_lock(directory: RunDirectory) -> dict[str, Any]:
    """The lock of a run. RequestError where there is none that can be read."""
    found = directory.read_json("lock.json")
    words = found.get("overrides")
    if not isinstance(found.get("config"), dict) or not isinstance(words, list) or {*map(type, words)} - {str}:
        what = "has no lock.json that can be read, in which a run says what it is."
        raise RequestError(Problem(str(directory.path), what, "Name a run that bptrain runs lists."))
    if found.get("config_hash") != config_hash(found["config"]):
        what = "has a config that is not the one it was written with."
        raise RequestError(Problem(f"{directory.path}/lock.json", what, "Give what is to change as KEY=VALUE."))
    return found


def changes(before: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """What makes other bits likely, by name: a sentence for each fact in which two locks differ."""
    texts = {}
    for name, path in FACTS.items():
        was, is_ = (_at(lock, path) for lock in (before, now))
        if was != is_:
            texts[name] = f"{name} was {_short(was)} in this run, and is {_short(is_)}."
    return texts


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _code(settings: Settings) -> dict[str, Any] | None:
    """The user's own code that the network is made of: what was trusted, and the SHA-256 of each file; else None."""
    if not isinstance(settings.model, Custom):
        return None
    trust = settings.trust
    return {"path": settings.model.path, "trust": list(trust), "sha256": settings.model.sources(trust)}


def config_hash(resolved: dict[str, Any]) -> str:
    """SHA-256 in hex over a resolved config, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()


@functools.cache
def _versions() -> dict[str, str | None]:
    def version(package: str) -> str | None:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    return {package: version(package) for package in PACKAGES}


@functools.cache  # trials of a sweep run the code that was loaded at its start
def _git() -> dict[str, str] | None:
    """Commit and uncommitted changes of the working directory's repository; None outside of one."""
    commit = _ask_git("rev-parse", "HEAD")
    if not commit:
        return None
    return {"commit": commit.strip(), "diff": (_git_diff() or "")[:LONGEST]}


def _git_diff() -> str | None:
    """The uncommitted changes, as no program filters them; None when that can't be had.

    A repository can say that its files lie elsewhere: then nothing is read of them.
    """
    here = Path.cwd()
    holder = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), None)
    if holder is None or (_ask_git("rev-parse", "--show-toplevel") or "").rstrip("\n") != holder.resolve().as_posix():
        return None
    filters = _ask_git("config", "-z", "--name-only", "--get-regexp", r"^filter\.") or ""
    drivers = {name.rpartition(".")[0] for name in filters.split("\0") if name}
    if any("=" in driver for driver in drivers):  # which can't be set on a command line
        return None
    off = [f"{driver}.{key}={value}" for driver in drivers for key, value in FILTER.items()]
    return _ask_git(*(word for setting in off for word in ("-c", setting)), *DIFF)


def _ask_git(*words: str) -> str | None:
    """What git says; None when it fails. A repository's own settings can name programs for it to run: none is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | ALONE
    safe = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
    try:
        done = subprocess.run(
            ["git", "--no-pager", *safe, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None

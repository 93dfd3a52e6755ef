"""The lock of a run: all that its result depends on, written before the first step."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
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
DIFF = 1_000_000  # characters of the working tree's diff that are kept


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
    if not isinstance(found.get("config"), dict) or not isinstance(found.get("overrides"), list):
        what = "has no lock.json that can be read, in which a run says what it is."
        raise RequestError(Problem(str(directory.path), what, "Name a run that bptrain runs lists."))
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
    return {"commit": commit.strip(), "diff": (_ask_git("diff", "HEAD") or "")[:DIFF]}


def _ask_git(*words: str) -> str | None:
    # A repository's own settings can name programs for git to run: none of them is wanted here.
    safe = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
    options = ["--no-ext-diff", "--no-textconv"] if words[0] == "diff" else []
    try:
        done = subprocess.run(
            ["git", *safe, *words[:1], *options, *words[1:]], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None

"""The directory of a run: where it lies and what stands in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bptrain import files
from bptrain.errors import Problem, RequestError

if TYPE_CHECKING:
    from bptrain.config.compose import Config


OUTPUTS = Path("outputs")
LARGEST = 2**26  # bytes of a file of JSON that is read


@dataclass(frozen=True)
class RunDirectory:
    """`outputs/<name>/<date>_<time>/`, or `outputs/<name>/sweeps/<date>_<time>/<number>/` for a job of a sweep."""

    path: Path

    @classmethod
    def create(cls, name: str) -> RunDirectory:
        return cls(_fresh(OUTPUTS / name))

    def write_config(self, config: Config, name: str) -> None:
        """Hydra's own record of a run, where tools look for it."""
        files.make_directory(self.path / ".hydra")
        hydra = {
            "job": {"name": name, "override_dirname": ",".join(config.overrides)},
            "run": {"dir": str(self.path)},
            "overrides": {"task": list(config.overrides), "hydra": []},
            "runtime": {"cwd": str(Path.cwd()), "output_dir": str(self.path.absolute())},
        }
        record = {"config": config.text, "overrides": _yaml(list(config.overrides)), "hydra": _yaml({"hydra": hydra})}
        for file, text in record.items():
            files.write(self.path / ".hydra" / f"{file}.yaml", text, wait=False)  # lock.json has it all

    def write_json(self, name: str, value: Any) -> None:
        files.write_json(self.path / name, value)

    def read_json(self, name: str) -> dict[str, Any]:
        """A file's content; {} when it is not there or is not JSON, as in a run that was cut off."""
        path = self.path / name
        try:
            value = json.loads(path.read_bytes()) if path.is_file() and path.stat().st_size <= LARGEST else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def lines(self, name: str, length: int | None = None, digest: str | None = None) -> files.Lines:
        return files.Lines(self.path / name, length, digest)

    def write_checkpoint(self, name: str, contents: dict[str, bytes]) -> None:
        """Writes a checkpoint; of the last one the one before it stays, for when it is damaged."""
        files.replace_directory(self.path / "checkpoints" / name, contents, keep=name == "last")

    def remove_checkpoint(self, name: str) -> None:
        files.remove_directory(self.path / "checkpoints" / name)

    def read_checkpoints(self, name: str, largest: Mapping[str, int]) -> Iterator[tuple[Path, dict[str, bytes]]]:
        """The files of each copy of a checkpoint that was left, the newest first; `largest` are their names, each with
        the bytes above which it is passed over."""
        for folder in files.copies(self.path / "checkpoints" / name):
            paths = [path for of in largest if (path := folder / of).is_file() and not path.is_symlink()]
            yield folder, {path.name: path.read_bytes() for path in paths if path.stat().st_size <= largest[path.name]}

    def held(self) -> AbstractContextManager[None]:
        """One process at a time writes a run."""
        return files.held(self.path / ".lock")


def refuse_links(path: Path) -> None:
    """RequestError when something in a directory that will be written to lies elsewhere."""
    if link := next(files.links(path), None):
        what = "is a link, or no file: what is written there would be written elsewhere."
        raise RequestError(Problem(str(link), what, "Put a copy in its place."))


def create_sweep(name: str) -> Path:
    """The fresh directory of a sweep."""
    return _fresh(OUTPUTS / name / "sweeps")


def _fresh(parent: Path) -> Path:
    """A new directory named after the time; of several made in the same second, each gets its own."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    path, number = parent / stamp, 1
    while not files.make_directory(path):
        number += 1
        path = parent / f"{stamp}_{number}"
    return path


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False)

"""The trees of YAML files that a config is composed from: groups and their options."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bptrain.errors import Problem, RequestError

LONGEST, MOST = 200, 10_000  # characters of a group's name, and files that are looked at for groups


def config_root() -> Path:
    """The folder `configs`: inside the installed package, or at the root of the repository."""
    package = Path(__file__).parent.parent
    for root in (package / "configs", package.parent.parent / "configs"):
        if (root / "train.yaml").is_file():
            return root
    raise RequestError(Problem(str(package), "the folder `configs` is missing.", "Install bptrain again."))


@dataclass(frozen=True)
class Tree:
    """Folders of configs, the first of which shadows those after it."""

    roots: tuple[Path, ...]

    @classmethod
    def of(cls, config_dir: str | None) -> Tree:
        """The user's folder, if there is one, before the packaged folder."""
        if config_dir is None:
            return cls((config_root(),))
        user = Path(config_dir).absolute()
        if not config_dir or not user.is_dir():
            raise RequestError(
                Problem("--config-dir", f"there is no folder '{config_dir}'.", "Name one with YAML files.")
            )
        return cls((user, config_root()))

    def groups(self) -> list[str]:
        """The names of all groups, such as 'model' and 'model/activation'."""
        paths = ((root, path) for root in self.roots for path in islice(root.rglob("*"), MOST))
        return sorted({path.relative_to(root).as_posix() for root, path in paths if path.is_dir()})

    def is_group(self, name: str) -> bool:
        return len(name) <= LONGEST and any((root / name).is_dir() for root in self.roots)

    def own(self, group: str, option: str) -> list[Path]:
        """The file of an option if it is the user's, as a list of one or none."""
        return [path for root in self.roots[:-1] if (path := root / group / f"{option}.yaml").is_file()]

    def file(self, path: str) -> list[Path]:
        """The file that Hydra calls 'model/mlp', say, as a list of one or none."""
        return [file for root in self.roots if (file := root / f"{path.removesuffix('.yaml')}.yaml").is_file()][:1]

    def options(self, group: str = "") -> list[str]:
        """The options of a group; without one, the configs that can be started from."""
        return sorted({path.stem for root in self.roots for path in (root / group).glob("*.yaml")})

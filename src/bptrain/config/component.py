"""Components: a dataclass of settings with a registered name; torch is imported only when one is built."""

from __future__ import annotations

import functools
import importlib
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar

# The package or module in which the components of a config group are defined.
GROUPS = {
    "model": "bptrain.models",
    "model/activation": "bptrain.models.activation",
    "model/kernel": "bptrain.models.kernel",
    "model/layer": "bptrain.models.layer",
    "data": "bptrain.data",
    "loss": "bptrain.losses",
    "optimizer": "bptrain.optimizers",
    "scheduler": "bptrain.schedulers",
}

_REGISTRY: dict[str, dict[str, type[Component]]] = {}


class Component:
    """Base of everything a config can name: `class MLP(Model, name="mlp")` registers under its group.

    A base class says `group=`, a component says `name=`, and belongs to the groups of all its bases. Names are looked
    up, never imported from a dotted path, so that a config from a stranger can't run code.
    """

    group: ClassVar[str]
    name: ClassVar[str]

    def __init_subclass__(cls, group: str | None = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if group is not None:
            cls.group = group
        if name is None:
            return
        cls.name = name
        for base in cls.__mro__:
            if "group" in vars(base):
                known = _REGISTRY.setdefault(base.group, {})  # type: ignore[attr-defined]
                if name in known:
                    raise TypeError(f"{base.group}={name} is both {known[name].__qualname__} and {cls.__qualname__}")  # type: ignore[attr-defined]
                known[name] = cls


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    unit: str = "",
) -> Any:
    """A dataclass field with what a user needs to know of it: a sentence, the range and the unit.

    The range holds for the number itself and for each number of a list. `minimum` and `maximum`
    are allowed values, `above` and `below` are not.
    """
    limits = {"minimum": minimum, "maximum": maximum, "above": above, "below": below}
    metadata = {"help": help, "unit": unit, **{key: limit for key, limit in limits.items() if limit is not None}}
    if isinstance(default, type):  # a nested dataclass of settings
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def component(group: str, name: str) -> type[Component] | None:
    """The component of that name, None when there is none.

    All that a group has takes long to import, so for a name that exists only the files are that say `name="mlp"`.
    """
    known = _REGISTRY.setdefault(group, {})
    for module, file in _modules(group).items():
        if name not in known and f'name="{name}"' in file.read_text(encoding="utf-8"):
            importlib.import_module(module)
    return known.get(name) or components(group).get(name)


def components(group: str) -> dict[str, type[Component]]:
    """The components of a config group by name, in alphabetical order."""
    for module in _modules(group):
        importlib.import_module(module)
    return dict(sorted(_REGISTRY.get(group, {}).items()))


@functools.cache
def _modules(group: str) -> dict[str, Path]:
    """The file of each module in the package of a group; where that is a module alone, it is imported here."""
    package = importlib.import_module(GROUPS[group])
    files = [file for folder in getattr(package, "__path__", ()) for file in Path(folder).glob("*.py")]
    return {f"{package.__name__}.{file.stem}": file for file in sorted(files) if file.stem != "__init__"}

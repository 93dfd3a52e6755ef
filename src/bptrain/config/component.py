"""Components: a dataclass of settings with a registered name; torch is imported only when one is built."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from dataclasses import field
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


def components(group: str) -> dict[str, type[Component]]:
    """The components of a config group by name."""
    _load(group)
    return _REGISTRY.get(group, {})


@functools.cache
def _load(group: str) -> None:
    module = importlib.import_module(GROUPS[group])
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        importlib.import_module(f"{module.__name__}.{found.name}")

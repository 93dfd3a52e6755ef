"""ModulePath: which module of a model is at work, told by hooks on all of them."""

from __future__ import annotations

from typing import Any

from torch import nn


class ModulePath:
    """`current` is the name of the innermost module whose forward runs, such as 'layers.0'; '' outside of all."""

    def __init__(self, model: nn.Module | None) -> None:
        self._names: list[str] = []
        self._handles: list[Any] = []
        for name, module in model.named_modules() if model is not None else ():
            self._watch(name, module)

    @property
    def current(self) -> str:
        return self._names[-1] if self._names else ""

    def close(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _watch(self, name: str, module: nn.Module) -> None:
        def enter(*_: Any) -> None:
            self._names.append(name)

        def leave(*_: Any) -> None:
            self._names.pop()

        self._handles += [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, always_call=True),
        ]

"""A module of the user's own, named on the command line: imported and built only when it is trusted."""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib
import inspect
import os
import pkgutil
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bptrain.config.component import setting
from bptrain.errors import Problem, RequestError, did_you_mean
from bptrain.models.model import Model

if TYPE_CHECKING:
    from torch import nn

_LIBRARIES = tuple(sysconfig.get_paths()[kind] + os.sep for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
_LOOK = "BPTRAIN_TRACEBACK=1 shows the calls that lead there."


@dataclass(frozen=True)
class Custom(Model, name="custom"):
    """A class of nn.Module, or a function that returns one, called with `arguments`.

    Where it has parameters named `shape` and `outputs` they are the shape of one input and the width of the
    output. Nothing is imported before `build`, and settings whose `trust` does not cover the module are refused.
    """

    path: str = setting(MISSING, "package.module:Name of a class of nn.Module, or of a function that returns one")
    arguments: dict[str, Any] = setting(
        dict, "its keyword arguments: numbers, texts, true, false, null, lists, mappings"
    )

    def __post_init__(self) -> None:
        module, _, name = self.path.partition(":")
        if not all(word.isidentifier() for word in [*module.split("."), name]) or module.endswith(".py"):
            what = f"'{self.path}' names nothing that can be imported."
            raise RequestError(Problem("model.path", what, "Write package.module:Name, such as my.module:Net."))

    @property
    def module(self) -> str:
        return self.path.partition(":")[0]

    def trusted(self, trust: Iterable[str]) -> bool:
        """Whether `trust` names the module, or a package that it is in."""
        return any(_within(self.module, name) for name in trust)

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """(B, *shape) -> (B, outputs), if the user's code keeps to it. RequestError with the line that fails."""
        from torch import nn
        from torch.nn.parameter import is_lazy

        target = self._target()
        with self._explained("can't be called"):
            parameters = inspect.signature(target).parameters
        given = {name: value for name, value in (("shape", shape), ("outputs", outputs)) if name in parameters}
        given |= copy.deepcopy(self.arguments)  # which the user's code may change
        if problems := self._misfits(parameters, given):
            raise RequestError(problems)
        with self._explained("fails"):
            network = target(**given)
        if not isinstance(network, nn.Module):
            what = f"{self.path} gives a {type(network).__name__}, and no nn.Module."
            raise RequestError(Problem("model.path", what, "Return the module."))
        tensors = [*network.named_parameters(), *network.named_buffers()]
        if lazy := [name for name, tensor in tensors if is_lazy(tensor)]:
            what = f"{self.path} is lazy: nothing says the size of its '{lazy[0]}'."
            raise RequestError(Problem("model.path", what, "Take a parameter `shape`: it is given that of one input."))
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise RequestError(Problem("model.path", f"{self.path} has no parameters to train."))
        return network

    def sources(self, trust: Iterable[str]) -> dict[str, str]:
        """SHA-256 in hex of the file of every trusted module that is loaded, as it was when first asked for."""
        files = {
            name: file
            for name, module in sys.modules.copy().items()
            if any(_within(name, root) for root in trust) and (file := getattr(module, "__file__", None))
        }
        return {name: _sha256(file) for name, file in sorted(files.items()) if Path(file).is_file()}

    def _target(self) -> Callable[..., Any]:
        """What `path` names."""
        from torch import nn

        module, name = self._import(), self.path.partition(":")[2]
        with self._explained(f"has no '{name}'"):
            target = getattr(module, name, None)
        if inspect.isclass(target) and issubclass(target, nn.Module):
            return target
        if inspect.isfunction(target):
            # What a module has imported, such as subprocess.run, is not what was trusted.
            if _within(target.__module__, self.module):
                return target
            home = target.__module__
            what = f"'{name}' is not written in {self.module} but in {home}."
            cure = f"Write model.path={home}:{target.__name__} trust={home} if that may run here."
            raise RequestError(Problem("model.path", what, cure))
        if target is None:
            what = f"there is no '{name}' in {_short(getattr(module, '__file__', None) or self.module)}."
            known = [key for key, value in vars(module).items() if callable(value)]
            raise RequestError(Problem("model.path", what, did_you_mean(name, known, fallback=False)))
        what = f"{self.path} is a {type(target).__name__}" + (" of another kind" if inspect.isclass(target) else "")
        instead = "Name a class of nn.Module, or a function that returns one."
        raise RequestError(Problem("model.path", f"{what}.", instead))

    def _import(self) -> ModuleType:
        """The module, from the current folder first; what its import draws is not taken from torch's generator."""
        import torch

        with self._explained("can't be imported"), torch.random.fork_rng(devices=[]), _current_folder():
            try:
                return importlib.import_module(self.module)
            except ModuleNotFoundError as error:
                if not _within(self.module, error.name or "?"):  # another one, which it imports
                    raise
                missing = str(error.name)
        near = did_you_mean(missing, (found.name for found in pkgutil.iter_modules([os.getcwd()])), fallback=False)
        what = f"there is no module '{missing}', installed or in the current folder."
        raise RequestError(Problem("model.path", what, near))

    def _misfits(self, parameters: Any, given: dict[str, Any]) -> list[Problem]:
        """The arguments that the target does not take, and those that it still needs."""
        kinds = {parameter.kind for parameter in parameters.values()}
        unknown = [] if inspect.Parameter.VAR_KEYWORD in kinds else [key for key in given if key not in parameters]
        named = [
            name
            for name, parameter in parameters.items()
            if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        ]
        needed = [name for name in named if parameters[name].default is inspect.Parameter.empty and name not in given]
        return [
            Problem(f"model.arguments.{key}", f"is no parameter of {self.path}.", did_you_mean(key, named))
            for key in unknown
        ] + [
            Problem(
                f"model.arguments.{name}",
                f"is missing, and {self.path} needs it.",
                f"Write model.arguments.{name}=VALUE.",
            )
            for name in needed
        ]

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turns whatever the user's code raises into a message that names its line: RequestError."""
        try:
            yield
        except (Exception, SystemExit) as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
            said = said if said.endswith((".", "?", "!")) else f"{said}."
            message = f"{self.path} {what}: {_line(error, self.module)}: {said}"
            raise RequestError(Problem("model.path", message, _LOOK)) from error


def _within(module: str, root: str) -> bool:
    """Whether a module is `root` or inside of that package."""
    return f"{module}.".startswith(f"{root}.")


def _line(error: BaseException, module: str) -> str:
    """'file:line' of the innermost call that is not a library's, or is in the module's own package."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename)}:{error.lineno}"
    line = _short(module)
    for frame, number in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        library = file == __file__ or file.startswith(("<", *_LIBRARIES))
        if not library or _within(frame.f_globals.get("__name__", ""), module.partition(".")[0]):
            line = f"{_short(file)}:{number}"
    return line


def _short(file: str) -> str:
    return str(Path(file).relative_to(Path.cwd())) if Path(file).is_relative_to(Path.cwd()) else file


@contextmanager
def _current_folder() -> Iterator[None]:
    """Looks for modules in the current folder first, which a console script else does not do."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # the module has taken it out itself
            sys.path.remove(folder)


@functools.cache  # a file that changes while a sweep runs does not change what is loaded
def _sha256(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()

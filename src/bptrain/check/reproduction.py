"""A reproduction: one wrong call as a script with its tensors, which shows the fault without bptrain."""

from __future__ import annotations

import ast
import itertools
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor
from torch.overrides import resolve_name
from torch.utils._pytree import tree_flatten, tree_map

from bptrain import files
from bptrain.check.autocast import OFF, Autocast
from bptrain.check.class_source import ClassSource, class_source, defined
from bptrain.check.reproduction_script import SCRIPT
from bptrain.errors import Problem, RequestError
from bptrain.reference.call import Call, Input
from bptrain.reference.draws import Draws, kept
from bptrain.reference.dtype import as_real, cast

WIDTH = 110
# How much of the error that autograd's gradient had may be left of it when it counts as right.
LEFT = 0.1


@dataclass(frozen=True)
class Evidence:
    """A call whose gradient is wrong, with all that is needed to make it again.

    `args` and `kwargs` hold real tensors, in the dtype that the call saw. Positions of inputs are those of the tensors
    among the flattened (args, kwargs), positions of outputs those among the flattened result.
    """

    function: Callable
    args: tuple
    kwargs: dict[str, Any]
    wanted: dict[int, str]  # position of an input whose gradient is wrong -> name of the argument
    dy: dict[int, Tensor]  # by position of the output, the gradient that the call got
    theirs: dict[int, Tensor | None]  # by position of the input, autograd's
    ours: dict[int, Tensor]  # by position of the input, the reference's
    draws: Draws | None = None  # before the call
    autocast: Autocast = OFF


def evidence(
    call: Call, values: Callable[[int], Tensor], wrong: dict[int, tuple[str, Tensor]], autocast: Autocast = OFF
) -> Evidence:
    """A call of the tape, and for each position whose gradient is wrong its name and the reference's gradient."""

    def value(x: Any) -> Any:
        return values(x.variable).detach() if isinstance(x, Input) else x.detach() if isinstance(x, Tensor) else x

    args, kwargs = tree_map(value, (call.args, call.kwargs))
    return Evidence(
        call.function,
        args,
        kwargs,
        {position: name for position, (name, _) in wrong.items()},
        dict(call.output_gradients),
        {position: call.input_gradients.get(position) for position in wrong},
        {position: gradient for position, (_, gradient) in wrong.items()},
        call.draws,
        autocast,
    )


def save(evidence: Evidence, path: Path, about: str) -> None:
    """Writes `repro.py` and `tensors.safetensors` to the folder `path`, `about` as a comment.

    The script repeats the call, and exits with 1 while autograd's gradient is wrong, with 0 once it is right. Raises
    RequestError where the call can't be written out: a function without a public name, a class whose source is not to
    be had, an argument that is neither a tensor nor plain.
    """
    if not evidence.dy:
        raise RequestError(Problem("save_repro", "no gradient came back to the wrong call, so it can't be made again."))
    source = class_source(evidence.function) if isinstance(evidence.function, type) else None
    name = f"{source.name}.apply" if source else _public(evidence.function)
    tensors = _Tensors()
    inputs = [tensors.add(f"input {i}", x) for i, x in enumerate(_inputs(evidence))]
    wrong = {}
    for position, argument in evidence.wanted.items():
        ours, theirs = evidence.ours[position], evidence.theirs.get(position)
        tensors.add(f"expected {position}", ours)
        direction, error = _apart(theirs, ours)
        tensors.add(f"direction {position}", direction)
        wrong[position] = (argument, float(f"{LEFT * error:.2g}"))
    dy = {position: tensors.add(f"dy {position}", gradient) for position, gradient in evidence.dy.items()}
    draws = _draws(evidence)
    for device, state in draws.items():
        tensors.add(f"draws {device}", state)
    script = SCRIPT.format(
        restored="".join(line + "\n" for line in tensors.restored),
        inputs=", ".join(inputs),
        dy="{" + ", ".join(f"{position}: {saved}" for position, saved in dy.items()) + "}",
        wrong=wrong,
        draws="".join(f"    {_restore(device)}\n" for device in draws),
        call=_call(name, evidence),
        forward=_forward(evidence.autocast),
    )
    text = _comment(about, source.needs if source else ()) + (_kept_apart(source, script) if source else "") + script
    files.make_directory(path)
    files.write(path / "tensors.safetensors", to_safetensors(tensors.stored))
    files.write(path / "repro.py", text)


def _comment(about: str, needs: tuple[str, ...]) -> str:
    wrap = textwrap.TextWrapper(WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
    lines = [line for part in about.splitlines() for line in wrap.wrap(part)]
    packages = ", ".join(dict.fromkeys(("torch", "safetensors", *needs)))
    last = f"# Needs {packages}. Exits with 1 while autograd's gradient is wrong, with 0 once it is right."
    return "\n".join([*lines, "#", last]) + "\n\n"


def _kept_apart(source: ClassSource, script: str) -> str:
    """The text of a class, which must not use a name that the script has for something else."""
    if both := source.defines & {name for part in ast.parse(script).body for name in defined(part)}:
        what = f"it uses {', '.join(sorted(both))}, which is a name of the script too."
        raise RequestError(Problem(source.name, what, "Give it another name."))
    return source.text + "\n\n\n"


class _Tensors:
    """What goes to the file of tensors, and the lines that make of it again what it was."""

    def __init__(self) -> None:
        self.stored: dict[str, Tensor] = {}
        self.restored: list[str] = []

    def add(self, name: str, tensor: Tensor) -> str:
        """Stores a tensor; returns the expression for it in the script."""
        saved, tensor = f'saved["{name}"]', tensor.detach().to_dense()
        self.stored[name] = as_real(tensor).resolve_neg().cpu().contiguous().clone()
        steps = [f"torch.view_as_complex({saved})"] if tensor.is_complex() else []
        steps += [f'{saved}.to("{tensor.device}")'] if tensor.device.type != "cpu" else []
        if not tensor.is_contiguous() and tensor.clone().stride() == tensor.stride():
            made = f"torch.empty_strided({tuple(tensor.shape)}, {tensor.stride()}, dtype={tensor.dtype}"
            steps.append(f'{made}, device="{tensor.device}").copy_({saved})')
        self.restored += [f"{saved} = {step}" for step in steps]
        return saved


def _inputs(evidence: Evidence) -> list[Tensor]:
    return [x for x in tree_flatten((evidence.args, evidence.kwargs))[0] if isinstance(x, Tensor)]


def _apart(theirs: Tensor | None, ours: Tensor) -> tuple[Tensor, float]:
    """The direction in which the two differ, and how far; of one that can't be compared, the direction of all ones."""
    apart = -ours if theirs is None else None if theirs.shape != ours.shape else cast(theirs, torch.float64) - ours
    if apart is not None and apart.isfinite().all() and apart.any():
        size = apart.abs().max()  # so that no square overflows or vanishes
        error = (size * (apart / size).norm()).item()
        return apart / error, error
    finite = ours[ours.isfinite()]
    return torch.ones_like(ours) / math.sqrt(max(1, ours.numel())), max(finite.norm().item() / 100, 1e-300)


def _draws(evidence: Evidence) -> dict[str, Tensor]:
    """The states of the generators by device, where the call draws from one."""
    if evidence.draws is None:
        return {}
    args, kwargs = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, (evidence.args, evidence.kwargs))
    function = getattr(evidence.function, "apply", evidence.function)  # of a custom autograd.Function
    with kept(), torch.no_grad():
        evidence.draws.restore()
        function(*args, **kwargs)
        after = Draws.now()
    states = {"cpu": (evidence.draws.cpu, after.cpu)}
    states |= {f"cuda:{i}": pair for i, pair in enumerate(zip(evidence.draws.cuda, after.cuda, strict=True))}
    return {device: old for device, (old, new) in states.items() if not torch.equal(old, new)}


def _restore(device: str) -> str:
    state = f'saved["draws {device}"]'
    return f"torch.set_rng_state({state})" if device == "cpu" else f'torch.cuda.set_rng_state({state}, "{device}")'


def _forward(autocast: Autocast) -> str:
    run = "outputs = call_again([x.clone() for x in inputs])"
    casts = ", ".join(f'torch.autocast("{device}", {dtype})' for device, dtype in autocast.dtypes)
    return f"with {casts}:\n    {run}" if casts else run


def _public(function: Callable) -> str:
    """The name under which torch has a function."""
    name = resolve_name(function) or ""
    if isinstance(function, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        name = f"torch.ops.{name}"
    found: Any = torch
    for part in name.split(".")[1:]:
        found = getattr(found, part, None)
    if not name.startswith("torch.") or found != function:
        called = getattr(function, "__qualname__", repr(function))
        what = "it has no name in torch, so a script can't call it."
        raise RequestError(Problem(called, what, "Put its gradient into a torch.autograd.Function of a file."))
    return name


def _call(name: str, evidence: Evidence) -> str:
    """The lines that call the function on the tensors x and put its result into y."""
    number = itertools.count()
    args, kwargs = tree_map(
        lambda x: _Slot(next(number)) if isinstance(x, Tensor) else x, (evidence.args, evidence.kwargs)
    )
    written = [*map(_written, args), *(f"{key}={_written(value)}" for key, value in kwargs.items())]
    call = f"{name}({', '.join(written)})"
    # An assignment returns nothing: its result is the tensor that it wrote to.
    lines = [call, "y = x[0]"] if evidence.function is Tensor.__setitem__ else [f"y = {call}"]
    return "\n    ".join(lines)


@dataclass(frozen=True)
class _Slot:
    """Stands for a tensor among the arguments."""

    position: int


def _written(value: Any) -> str:
    """A value as Python would have it."""
    if isinstance(value, _Slot):
        return f"x[{value.position}]"
    if value is None or value is ... or isinstance(value, bool):
        return "..." if value is ... else repr(value)
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list, torch.Size):
        inside = ", ".join(map(_written, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, slice):
        return f"slice({_written(value.start)}, {_written(value.stop)}, {_written(value.step)})"
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else f'float("{float(value)}")'
    if type(value) in (int, complex, str):
        return repr(value)
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return repr(value)
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    if callable(value) and not isinstance(value, (type, torch.nn.Module)):
        return _public(value)
    what = f"an argument of the type {type(value).__name__} can't be written out."
    raise RequestError(Problem("save_repro", what, "Tensors, numbers, strings and lists of these can."))

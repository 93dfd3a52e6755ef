"""Shows an explanation of a step: as text, as a page of HTML, or as JSON."""

from __future__ import annotations

import io
from typing import Any, Literal

import rich.console
import torch
from rich.markup import escape
from rich.text import Text
from torch import Tensor

from bptrain.errors import Problem, RequestError
from bptrain.files import to_json
from bptrain.report.terminal import number
from bptrain.train.explanation import Explained, Explanation, Value

SMALL = 24  # elements that are shown; of more the shape and the range
MOST = 2_000_000  # numbers in JSON
WIDTH = 120  # of a page
SHADES = " ░▒▓█"  # of a picture, from nothing to the largest


def show(explanation: Explanation, format: Literal["text", "html", "json"] | str, picture: bool = False) -> None:
    """Prints it to stdout. `picture` adds the gradient of the loss with respect to the input.

    RequestError for JSON of too many numbers, before anything is printed.
    """
    if format == "json":
        count = _count(explanation)
        if count > MOST:
            what = f"json has every number of the step, here {count:,}, and takes {MOST:,} at the most."
            fewer = "Write rows=2, or a smaller model" if explanation.rows > 2 else "Write a smaller model"
            raise RequestError(Problem("--format", what, f"{fewer}; text and html give large tensors by their range."))
        print(to_json(_plain(explanation, picture), indent=2))
        return
    if format == "text":
        _tell(rich.console.Console(highlight=False), explanation, picture)
        return
    page = rich.console.Console(file=io.StringIO(), record=True, width=WIDTH, highlight=False, force_terminal=True)
    _tell(page, explanation, picture)
    print(page.export_html(inline_styles=True))


def _tell(console: rich.console.Console, step: Explanation, picture: bool) -> None:
    def head(title: str) -> None:
        console.print(f"\n[bold]{title}[/bold]")

    head(f"Forward propagation of {step.rows} rows")
    for place, call in enumerate(step.calls, 1):
        console.print(f"\n{place:>3}  {_called(call)}", soft_wrap=True)
        _formula(console, call.formula)
        _values(console, call.inputs)
        _values(console, call.outputs, "-> ")
    head("Error")
    console.print(f"     loss = {step.loss:.10g}, the mean over the rows")
    head("Backward propagation")
    for place, call in reversed([*enumerate(step.calls, 1)]):
        if call.received:
            console.print(f"\n{place:>3}  {_called(call)}", soft_wrap=True)
            _formula(console, call.derivation)
            _values(console, call.received)
            _values(console, call.gradients, "-> ")
    console.print(f"\n     autograd's gradients in float64 differ from these by {step.apart:.1e} at the most")
    head(f"Weight adjustment by {step.optimizer}")
    _formula(console, step.update)
    options = ", ".join(f"{name} {value}" for name, value in step.options.items())
    console.print(f"     {escape(options)}", soft_wrap=True)
    if step.clip < 1:
        console.print(f"     all gradients are scaled by {step.clip:.6g}, to the norm that fit.clip allows")
    for parameter in step.parameters:
        console.print(f"\n     [cyan]{escape(parameter.name)}[/cyan]")
        new = [] if parameter.new is None else [Value("new", parameter.new)]
        _values(console, [Value("old", parameter.old), Value("gradient", parameter.gradient), *new])
        if parameter.new is None:
            console.print("     new is what its line search finds, in several evaluations of the loss")
    if picture:
        head("The gradient of the loss with respect to the input")
        if step.input_gradient is None:
            console.print("     there is none: the inputs are tokens, or the network makes no use of them")
            return
        for row, (x, gradient) in enumerate(zip(step.inputs, step.input_gradient, strict=True)):
            console.print(f"\n     row {row}")
            _picture(console, x, gradient)


def _called(call: Explained) -> str:
    where = f"  [cyan]{escape(call.path)}[/cyan]" if call.path else ""
    return f"[bold]{escape(call.function.removeprefix('torch.'))}[/bold]{where}  [dim]{escape(call.source)}[/dim]"


def _formula(console: rich.console.Console, words: str) -> None:
    for line in words.splitlines():
        console.print(f"     [green]{escape(line)}[/green]", soft_wrap=True)


def _values(console: rich.console.Console, values: list[Value], arrow: str = "") -> None:
    for value in values:
        console.print(f"     {arrow}{escape(value.name)} {escape(_shown(value))}", soft_wrap=True)


def _shown(value: Value) -> str:
    """Shape and all numbers where these are few, else their range."""
    x = value.tensor
    if x is None:
        return f"= {value.words}"
    shape = str(tuple(x.shape))
    if x.numel() == 0 or x.is_complex():
        return shape
    if x.numel() <= SMALL:
        return f"{shape} = {_listed(x.tolist())}"
    low, high = (float(end) for end in x.double().aminmax())
    return f"{shape} from {number(low)} to {number(high)}"


def _listed(numbers: Any) -> str:
    return f"[{', '.join(map(_listed, numbers))}]" if isinstance(numbers, list) else f"{numbers:.4g}"


def _picture(console: rich.console.Console, x: Tensor, gradient: Tensor) -> None:
    """An image and its gradient side by side, of which red is above 0 and blue below; signals and tables as lines."""
    if gradient.dim() < 2:
        x, gradient = x.reshape(1, -1), gradient.reshape(1, -1)
    for image, slope in zip(_planes(x), _planes(gradient), strict=True):
        low, high = image.double().aminmax()
        tones = (image.double() - low) / ((high - low) or 1.0)
        sizes = slope.abs() / (slope.abs().max() or 1.0)
        for bright, size, sign in zip(tones.tolist(), sizes.tolist(), slope.tolist(), strict=True):
            line = Text("     " + "".join(_shade(tone) * 2 for tone in bright) + "   ")
            for s, g in zip(size, sign, strict=True):
                line.append(_shade(s) * 2, style="red" if g > 0 else "blue")
            console.print(line, no_wrap=True, crop=False)
    console.print(f"     the largest is {number(gradient.abs().max().item())}; red raises the loss, blue lowers it")


def _planes(x: Tensor) -> list[Tensor]:
    """(..., H, W) as planes (H, W)."""
    return list(x.reshape(-1, *x.shape[-2:]))


def _shade(share: float) -> str:
    return SHADES[min(len(SHADES) - 1, round(share * (len(SHADES) - 1)))]


def _count(step: Explanation) -> int:
    """The numbers of a step, but for the input and its gradient, which its calls have, too."""
    lists = [values for c in step.calls for values in (c.inputs, c.outputs, c.received, c.gradients)]
    tensors = [value.tensor for values in lists for value in values]
    tensors += [tensor for p in step.parameters for tensor in (p.old, p.gradient, p.new)]
    return sum(tensor.numel() for tensor in tensors if tensor is not None)


def _plain(step: Explanation, picture: bool) -> dict[str, Any]:
    """The explanation as JSON has it, every number of every tensor."""

    def values(found: list[Value]) -> dict[str, Any]:
        return {v.name: v.words if v.tensor is None else _tensor(v.tensor) for v in found}

    told = {
        "rows": step.rows,
        "loss": step.loss,
        "forward": [
            {
                "function": call.function,
                "path": call.path,
                "source": call.source,
                "formula": call.formula,
                "inputs": values(call.inputs),
                "outputs": values(call.outputs),
            }
            for call in step.calls
        ],
        "backward": [
            {
                "function": call.function,
                "path": call.path,
                "derivation": call.derivation,
                "received": values(call.received),
                "gradients": values(call.gradients),
            }
            for call in reversed(step.calls)
            if call.received
        ],
        "largest_difference_from_autograd": step.apart,
        "optimizer": {"name": step.optimizer, "update": step.update, "options": step.options, "clip": step.clip},
        "parameters": {
            p.name: {
                "old": p.old.tolist(),
                "gradient": p.gradient.tolist(),
                "new": None if p.new is None else p.new.tolist(),
            }
            for p in step.parameters
        },
    }
    if picture and step.input_gradient is not None:
        told["input"] = {"value": step.inputs.tolist(), "gradient": step.input_gradient.tolist()}
    return told


def _tensor(x: Tensor) -> dict[str, Any]:
    return {"shape": list(x.shape), "values": torch.view_as_real(x).tolist() if x.is_complex() else x.tolist()}

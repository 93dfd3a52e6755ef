"""Which call of a step is the first whose result or gradient is not finite, and which rows of the batch it is for."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bptrain.check.batches import Batches
from bptrain.check.recording import Recording
from bptrain.reference.call import Call
from bptrain.reference.draws import Draws, kept
from bptrain.train.run import Run

ARGUMENT = "its argument"


@dataclass(frozen=True)
class Origin:
    """A sentence on the call, '' where none was found, and rows of the training part, () where all may be involved."""

    call: str = ""
    rows: tuple[int, ...] = ()


def origin(run: Run, batches: list[Tensor]) -> Origin:
    """Where the step on these batches stops being finite, from the state before it, which stays as it is."""
    part = run.dataset.parts["train"]
    given = [(part.inputs[rows], part.targets[rows]) for rows in batches]
    try:
        recordings = Batches(given, run.loss, run.casts, run.settings.seed).run(run.state.model, Draws.now())
    except Exception as error:  # a module of the user's own can fail in any way
        return Origin(f"it can't be made again on a copy: {str(error).splitlines()[0]}")
    for backward in (False, True):
        for recording, rows, (inputs, targets) in zip(recordings, batches, given, strict=True):
            if backward:
                found = _in_backward(recording)
            elif all(recording.tape.values[end].isfinite().all() for end in recording.ends):
                found = None
            else:
                found = _in_forward(recording, recording.ends[0])
            if found is not None:
                call, what, tensors = found
                spoiled = _rows([inputs, targets, *tensors], len(rows)) or _alone(run, inputs, targets)
                if what == ARGUMENT and not _finite(targets):
                    what = "its targets"
                where = f" in {call.path}" if call.path else ""
                return Origin(f"{call.name}{where} ({call.source}), {what}", tuple(rows[spoiled].tolist()))
    return Origin()


Found = tuple[Call, str, list[Tensor]]  # the call, what of it, and tensors that show which rows


def _in_forward(recording: Recording, end: int) -> Found | None:
    """Goes back from a result that is not finite to where that comes from.

    Only what reaches the end counts: a mask of -inf that a softmax takes in is meant.
    """
    values, names = recording.tape.values, {v: name for name, v in recording.tape.leaves.items()}
    makers = {output.variable: call for call in recording.tape.calls for output in call.outputs}
    seen: set[int] = set()
    call, what = None, "its result"
    while end in makers and end not in seen:
        seen.add(end)
        call = makers[end]
        spoiled = [x.variable for x in call.inputs if not _finite(values[x.variable]) and x.variable not in seen]
        if not spoiled:
            break
        end = max(spoiled, key=lambda variable: bool(values[variable].isnan().any()))
        what = f"its {names[end]}" if end in names else "its result" if end in makers else ARGUMENT
    return None if call is None else (call, what, [values[o.variable] for o in call.outputs])


def _in_backward(recording: Recording) -> Found | None:
    """The first call on the way back that sends a gradient on which is not finite."""
    for call in reversed(recording.tape.calls):
        for position, gradient in call.input_gradients.items():
            if not _finite(gradient):
                variable = next(x.variable for x in call.inputs if x.position == position)
                named = [name for name, v in recording.tape.leaves.items() if v == variable]
                what = f"the gradient of its {named[0]}" if named else "the gradient of its argument"
                return call, what, [*call.input_gradients.values(), *call.output_gradients.values()]
    return None


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _rows(tensors: list[Tensor], count: int) -> list[int]:
    """Of `count` rows those that are not finite in one of the tensors; [] where none is, or all are.

    A tensor may have several places for each row, one after the other, as words of a sentence.
    """
    for tensor in tensors:
        if tensor.ndim and len(tensor) and not len(tensor) % count and not _finite(tensor):
            spoiled = ~tensor.isfinite().reshape(count, -1).all(1)
            if not spoiled.all():
                return spoiled.nonzero().flatten().tolist()
    return []


def _alone(run: Run, inputs: Tensor, targets: Tensor) -> list[int]:
    """The rows that spoil loss or gradient without the others; all where that says nothing."""
    model = copy.deepcopy(run.state.model)

    def among(rows: list[int]) -> list[int]:
        if not _spoils(run, model, inputs[rows], targets[rows]):
            return []
        half = len(rows) // 2
        return (among(rows[:half]) + among(rows[half:]) if half else rows) or rows

    every = list(range(len(inputs)))
    return among(every) or every


def _spoils(run: Run, model: nn.Module, inputs: Tensor, targets: Tensor) -> bool:
    parameters = [p for p in model.parameters() if p.requires_grad]
    try:
        with kept(), torch.enable_grad():
            with run.casts:
                loss = run.loss(model(inputs), targets)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    except Exception:  # such as batch normalization of a single row
        return False
    return not all(_finite(tensor) for tensor in (loss, *gradients) if tensor is not None)

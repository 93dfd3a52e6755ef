"""Hooks that keep the gradients that autograd takes along, of a tensor or of a node of its graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from bptrain.reference.call import Call
from bptrain.reference.memory import places


def keep(
    gradients: dict[int, Tensor], position: int, number: int | None = None, part: Tensor | None = None
) -> Callable[[Any], None]:
    """A hook that keeps the gradient it gets, or that of output `number` if it gets those of a node; all or a part."""

    def hook(given: Any) -> None:
        gradient = given if number is None else given[number]
        if gradient is not None:  # of several outputs, such as those of split, one may go unused
            gradient = gradient.detach().to_dense()
            gradients[position] = gradient.clone() if part is None else gradient.take(part)

    return hook


def keep_through_view(call: Call, written: Tensor) -> None:
    """Keeps the gradients of a call that wrote to a view.

    Autograd runs it inside a node of the view's base, which takes and sends gradients of the base: the call's are those
    of the view's places.
    """
    base = written._base
    if base is None or base.grad_fn is None or base.dtype != written.dtype:
        return
    part = places(written, base)
    call.output_gradients.clear()
    base.grad_fn.register_prehook(keep(call.output_gradients, 0, 0, part))
    sent = keep(call.input_gradients, 0, 0, part)
    base.grad_fn.register_hook(lambda inputs, _: sent(inputs))

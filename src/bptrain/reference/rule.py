"""Rule: the forward and backward formula of a torch function, and the registry that finds it.

A rule is written by hand from the mathematics and runs without autograd. The engine
(`backprop.py`) and the tape (`tape.py`) know no operation; all they know is this interface.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from bptrain.reference.elementary import Elementary

_REGISTRY: dict[Callable, type[Rule]] = {}
# Second names that torch accepts for an argument, after NumPy.
_SPELLINGS = {"axis": "dim", "keepdims": "keepdim", "axis0": "dim0", "axis1": "dim1"}


@dataclass(frozen=True)
class Case:
    """One sample call that a rule must get right: the arguments of a torch function.

    `function` is None for the rule's first function. A rule's first case runs on every function
    of the rule, the others only on the one they name. `smooth` is False where the arguments sit
    on a kink or tie on purpose: finite differences say nothing there, only the convention counts.
    `constant` names the arguments that torch refuses a gradient, such as the weights of classes.
    """

    label: str
    args: tuple
    kwargs: dict[str, Any] = field(default_factory=dict)
    function: Callable | None = None
    smooth: bool = True
    constant: tuple[str, ...] = ()


def case(
    label: str,
    *args: Any,
    function: Callable | None = None,
    smooth: bool = True,
    constant: tuple[str, ...] = (),
    **kwargs: Any,
) -> Case:
    """A Case from a call written as it would be made."""
    return Case(label, args, kwargs, function, smooth, constant)


class Rule:
    """The hand-written forward and backward of the torch functions in `functions`.

    forward(*args, **kwargs) -> y, cache
        The same signature as the torch function; `y` a tensor or a tuple of tensors.
    backward(cache, dy) -> gradients
        `dy` has the structure of `y`. One gradient for each leading parameter of `forward`, None
        for one that has no gradient, trailing ones left out; a list or tuple of tensors gets a list.
    cases() -> the sample calls that the tests run.
    contract(**arguments), kinks(**arguments)
        get all arguments of `forward` by name, those left out too, and take what they need.

    Only elementary operations are allowed in either (see ELEMENTARY). A rule with `random=True`
    gets one keyword more, `again(*args, **kwargs)`: it repeats the recorded call with other
    arguments under the very random draws the call made, so that a mask is read and not redrawn.
    With `function=...` it calls that instead, where the call's own result would not show the mask.
    `inexact` is the relative error that torch's own kernel makes in any dtype, for instance by
    rounding a constant to float32. `cancels` says that torch forms the gradient from terms of the size of dy
    that nearly cancel at times (a saturated sigmoid, a probability near 1): what is left is rounded as they are.
    `complex` says that the rule holds for complex tensors too. torch's gradient of a complex z = a + i b is
    dz = dL/da + i dL/db, so that y = c z gives dz = conj(c) dy, and y = conj(z) gives dz = conj(dy).
    `shifts` says that torch subtracts from the input something of its size, as a mean: its rounding counts.
    `in_order` says that torch adds up the bias' gradient, the sum of dy (B, O, *P) over all axes but O, term by term.
    """

    functions: ClassVar[tuple[Callable, ...]] = ()
    random: ClassVar[bool] = False
    inexact: ClassVar[float] = 0.0
    cancels: ClassVar[bool] = False
    shifts: ClassVar[bool] = False
    in_order: ClassVar[bool] = False
    complex: ClassVar[bool] = False

    def __init_subclass__(
        cls,
        functions: Iterable[Any] = (),
        random: bool = False,
        inexact: float = 0.0,
        cancels: bool = False,
        shifts: bool = False,
        in_order: bool = False,
        complex: bool | None = None,  # None: as its base
    ) -> None:
        cls.functions = tuple(functions)
        cls.random, cls.inexact, cls.cancels, cls.shifts, cls.in_order = random, inexact, cancels, shifts, in_order
        if complex is not None:
            cls.complex = complex
        for function in cls.functions:
            if function in _REGISTRY:
                raise TypeError(f"{function} has two rules: {_REGISTRY[function].__name__} and {cls.__name__}")
            _REGISTRY[function] = cls

    @staticmethod
    def cases() -> Iterable[Case]:
        return ()

    @staticmethod
    def arranged(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """A call as `forward` takes it, for a function of torch that has a second signature."""
        return args, kwargs

    # As for `forward`, each rule writes its own arguments.
    @staticmethod
    def contract(*args: Any, **kwargs: Any) -> str:
        """Why torch's gradient is by design not the derivative for these arguments; empty where it is."""
        return ""

    @staticmethod
    def kinks(*args: Any, **kwargs: Any) -> int:
        """How many elements sit on a kink or a tie, where torch's convention decides and no derivative does."""
        return 0

    # Each rule writes its own arguments, so no one signature can stand here.
    forward: ClassVar[Callable[..., tuple[Any, Any]]]
    backward: ClassVar[Callable[..., Any]]


def rule_for(function: Callable) -> type[Rule] | None:
    """The rule that explains `function`, or None: the one place that says 'no rule'."""
    _load()
    try:
        return _REGISTRY.get(function)
    except TypeError:  # an unhashable callable has no rule
        return None


def all_rules() -> list[type[Rule]]:
    """Every rule there is, in order of module and definition."""
    _load()
    return list(dict.fromkeys(_REGISTRY.values()))


@functools.cache
def _load() -> None:
    from bptrain.reference import rules

    for module in pkgutil.iter_modules(rules.__path__):
        importlib.import_module(f"{rules.__name__}.{module.name}")


def parameter_names(rule: type[Rule]) -> tuple[str, ...]:
    """The names of `forward`'s parameters, in order: the names gradients are reported under."""
    return tuple(name for name in _signature(rule).parameters if name != "again")


def _signature(rule: type[Rule]) -> inspect.Signature:
    return _signature_of(rule.forward)


@functools.cache
def _signature_of(function: Callable) -> inspect.Signature:
    return inspect.signature(function)


def bind(rule: type[Rule], args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the rule's parameter names.

    Raises TypeError when the call passes something the rule has no parameter for.
    """
    extra = {"again": None} if rule.random else {}
    args, kwargs = rule.arranged(args, {_SPELLINGS.get(name, name): value for name, value in kwargs.items()})
    bound = _signature(rule).bind(*args, **kwargs, **extra).arguments
    bound.pop("again", None)
    return dict(bound)


def sum_to(gradient: Tensor, shape: torch.Size) -> Tensor:
    """Undo broadcasting: sum `gradient` over the axes along which `shape` was repeated.

    If y = broadcast(x), each x_i is copied to several y_j, so dx_i is the sum of those dy_j.
    """
    lead = gradient.dim() - len(shape)
    axes = [*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1 and gradient.shape[lead + i] != 1)]
    return (gradient.sum(axes) if axes else gradient).reshape(shape)


def run_forward(rule: type[Rule], bound: dict[str, Any], again: Callable | None = None) -> tuple[Any, Any]:
    """`rule.forward` on arguments bound by name, with autograd off and only elementary operations."""
    args, kwargs = _positional(rule, bound)
    if rule.random:
        kwargs["again"] = again
    with torch.no_grad(), Elementary():
        return rule.forward(*args, **kwargs)


def conventions(rule: type[Rule], bound: dict[str, Any]) -> tuple[str, int]:
    """The rule's contract for a call, and its kinks."""
    arguments = inspect.BoundArguments(_signature(rule), dict(bound))
    arguments.apply_defaults()
    named = {name: value for name, value in arguments.arguments.items() if name != "again"}
    with torch.no_grad():
        return rule.contract(**named), rule.kinks(**named)


def run_backward(rule: type[Rule], cache: Any, dy: Any) -> dict[str, Any]:
    """`rule.backward`, its gradients by parameter name (None where there is none)."""
    with torch.no_grad(), Elementary():
        gradients = rule.backward(cache, dy)
    if not isinstance(gradients, tuple):
        gradients = (gradients,)
    return dict(zip(parameter_names(rule), gradients, strict=False))


def _positional(rule: type[Rule], bound: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    signature = _signature(rule)
    arguments = inspect.BoundArguments(signature, dict(bound))
    return arguments.args, dict(arguments.kwargs)

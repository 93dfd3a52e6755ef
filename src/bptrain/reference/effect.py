"""What a torch function does to the tensor it is called on, read off its name and arguments."""

from __future__ import annotations

from typing import Any

from torch import Size, Tensor

GET_DATA, SET_DATA = Tensor.data.__get__, Tensor.data.__set__  # type: ignore[attr-defined]
# Attributes of a tensor that are functions of it; all others are about this very tensor.
_VIEWS = (Tensor.T, Tensor.mT, Tensor.H, Tensor.mH, Tensor.real, Tensor.imag)
_ABOUT = {"register_hook", "register_post_accumulate_grad_hook", "retain_grad", "requires_grad_", "backward", "grad"}


def is_about_tensor(func: Any) -> bool:
    """Whether a function asks or sets something of this very tensor, so that an alias in its place would not do."""
    name = getattr(func, "__name__", "")
    return getattr(func, "__self__", None) not in _VIEWS if name in ("__get__", "__set__") else name in _ABOUT


def is_size(argument: Any) -> bool:
    """Whether an argument is a shape, which pytree would make a plain tuple of, and not all functions take one."""
    return isinstance(argument, Size)


def is_in_place(func: Any, args: tuple, kwargs: dict) -> bool:
    """Whether a call writes to its first tensor."""
    name = getattr(func, "__name__", "")
    in_place = kwargs.get("inplace") or (len(args) > 1 and args[-1] is True and _last_is_inplace(func, len(args)))
    return (name.endswith("_") and not name.endswith("__")) or name == "__setitem__" or bool(in_place)


def _last_is_inplace(func: Any, count: int) -> bool:
    """Whether the last of `count` positional arguments is called `inplace`, as in F.relu(x, True)."""
    code = getattr(func, "__code__", None)
    return code is not None and code.co_varnames[:count][-1] == "inplace"


def makes_number(func: Any) -> bool:
    """Whether a function gives the values of a tensor as something that is no tensor."""
    return getattr(func, "__name__", "") in {"item", "tolist", "numpy", "__float__", "__array__"}

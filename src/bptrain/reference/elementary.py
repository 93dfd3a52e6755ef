"""What a rule may be made of: arithmetic, comparisons, elementary functions, products, indexing, shapes.

Whatever is not here (conv, softmax, any *_backward, ...) is a formula that a rule has to write out.
"""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

ELEMENTARY = frozenset(
    """
    _conj _local_scalar_dense _reshape_alias _reshape_copy _to_copy _unsafe_view abs add add_ addmm addmv alias amax
    amin arange argmax argmin as_strided atan2 baddbmm bitwise_and bitwise_not bitwise_or bmm cat ceil clamp clamp_max
    clamp_min clone constant_pad_nd copy_ cos cumprod cumsum detach diagonal div div_ dot empty empty_like eq
    erf erfc exp expand expm1 eye fill_ flip floor full full_like gather ge gt index index_add index_put
    index_put_ index_select isfinite isinf isnan item le lift_fresh linspace log log1p logical_and logical_not
    logical_or lt masked_fill max maximum mean min minimum mm mul mul_ mv ne neg neg_ new_empty new_full
    new_zeros nonzero ones ones_like permute pow prod reciprocal remainder repeat repeat_interleave reshape
    resolve_conj resolve_neg roll round rsqrt rsub scalar_tensor scatter scatter_ scatter_add scatter_add_
    select sgn sign sin slice sort split split_with_sizes sqrt square squeeze squeeze_ stack sub sub_ sum t transpose
    tril triu unbind unfold unsqueeze unsqueeze_ view view_as_complex view_as_real where zero_ zeros zeros_like
    """.split()
)


class Elementary(TorchDispatchMode):
    """While active, an operation outside ELEMENTARY raises: no kernel may do a rule's work for it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing compiles a rule: torch's guard around each call would be half of what a small one takes."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in ELEMENTARY:
            raise AssertionError(f"a rule called {name}, which is not an elementary operation")
        return func(*args, **(kwargs or {}))

"""Memory: what was written to the memory that tensors share, so that each of them can be told what it holds now.

A view is a tensor of its own in autograd's graph. After `y[0].mul_(2)` all of y has new elements, those that the call
gave in the places of the view and the old ones elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Write:
    """A call that wrote to a tensor: its variable afterwards, and the version of the memory before and afterwards."""

    tensor: Tensor
    variable: int
    before: int
    after: int


@dataclass
class Memory:
    """The writes to each memory, by the tensor that all its views are views of, in their order."""

    _writes: dict[int, list[Write]] = field(default_factory=dict)  # by id of the base

    def wrote(self, tensor: Tensor, variable: int, before: int) -> None:
        # What is seen of the tensor is where it lies; a later call may move it, as transpose_ does.
        write = Write(tensor.detach(), variable, before, tensor._version)
        self._writes.setdefault(id(base(tensor)), []).append(write)

    def since(self, tensor: Tensor, version: int) -> list[Write]:
        """The writes that made what `tensor` held at `version` what it holds now; none where some were not seen."""
        writes = [write for write in self._writes.get(id(base(tensor)), []) if write.before >= version]
        versions = [version, *(write.after for write in writes)]
        seen = versions[-1] == tensor._version and versions[:-1] == [write.before for write in writes]
        return writes if seen and all(write.tensor.dtype == tensor.dtype for write in writes) else []


def equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same, NaN being the same as NaN."""
    if torch.equal(a, b):
        return True
    return a.shape == b.shape and a.is_floating_point() and bool(((a == b) | (a.isnan() & b.isnan())).all())


def base(tensor: Tensor) -> Tensor:
    """The tensor that `tensor` is a view of, or itself."""
    return tensor if tensor._base is None else tensor._base


def places(of: Tensor, within: Tensor) -> Tensor:
    """For each element of one tensor its number in another one that shares its memory; -1 where it is not in it."""
    size = within.untyped_storage().nbytes() // within.element_size()
    numbers = torch.full((size,), -1, device=within.device)
    numbered = torch.arange(within.numel(), device=within.device).reshape(within.shape)
    numbers.as_strided(within.shape, within.stride(), within.storage_offset()).copy_(numbered)
    return numbers.as_strided(of.shape, of.stride(), of.storage_offset()).clone()

"""ULP, unit in the last place: the distance between neighbouring numbers of a dtype."""

from __future__ import annotations

import torch
from torch import Tensor


def ulp(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The distance, in float64, between the numbers of `dtype` at each element of `x`; below the normals theirs."""
    info = torch.finfo(dtype)
    exponent = torch.frexp(x.double().abs().clamp(min=info.tiny))[1]  # |x| = m 2^exponent, m in [1/2, 1)
    return torch.ldexp(torch.full_like(x, info.eps, dtype=torch.float64), exponent - 1)

"""Label smoothing by a share that is a tensor, so that one program serves networks with other shares each."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Smoothed(TorchFunctionMode):
    """Inside, where cross-entropy smooths labels at all, it does so by `share`, a scalar tensor; None changes nothing.

    Its value is linear in the share: each target is (1 - s) times one class and s times the mean of all, and so
    L(s) = L(0) + s (L(1) - L(0)). https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
    """

    def __init__(self, share: Tensor | None) -> None:
        super().__init__()
        self.share = share

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not F.cross_entropy or self.share is None or not kwargs.get("label_smoothing"):
            return function(*args, **kwargs)
        sharp, even = (function(*args, **kwargs | {"label_smoothing": share}) for share in (0.0, 1.0))
        return sharp + self.share.to(sharp.dtype) * (even - sharp)

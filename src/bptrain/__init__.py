"""bptrain: trains neural networks from YAML and proves every gradient against a backprop written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bptrain.check.gradients import check_gradients as check_gradients
    from bptrain.check.optimizer import check_optimizer as check_optimizer
    from bptrain.check.optimizer_report import OptimizerReport as OptimizerReport
    from bptrain.check.report import GradientReport as GradientReport

# Where each public name is defined: looked up on first use, so that `import bptrain` loads no torch.
_HOME = {
    "check_gradients": "bptrain.check.gradients",
    "GradientReport": "bptrain.check.report",
    "check_optimizer": "bptrain.check.optimizer",
    "OptimizerReport": "bptrain.check.optimizer_report",
}

__all__ = ["GradientReport", "OptimizerReport", "check_gradients", "check_optimizer"]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOME:
        raise AttributeError(f"module 'bptrain' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)

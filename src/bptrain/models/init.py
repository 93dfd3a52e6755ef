"""Initialisation of weights by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bptrain.models.activation import Activation

if TYPE_CHECKING:
    from torch import nn

Init = Literal[
    "default", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal", "trunc_normal"
]


def gain(activation: Activation) -> float:
    """By how much weights grow to make up for what an activation takes away: 1 where torch recommends nothing.

    https://pytorch.org/docs/stable/nn.init.html#torch.nn.init.calculate_gain
    """
    from torch.nn.init import calculate_gain

    try:
        return calculate_gain(activation.name, getattr(activation, "negative_slope", None))  # type: ignore[arg-type]
    except ValueError:
        return 1.0


def initialise(module: nn.Module, init: Init, gain: float = 1.0) -> None:
    """Draws the weights of every linear, convolution and recurrent layer in `module` and sets their biases to 0.

    "default" leaves what torch drew. The matrices of the gates of a recurrent layer are drawn one by one, as
    they stand for layers of their own. "trunc_normal" has standard deviation 0.02, whatever the gain.
    Sources: Glorot and Bengio 2010 (xavier), He et al. 2015 (kaiming, by fan-in), Saxe et al. 2014 (orthogonal).
    """
    from torch import nn

    draws = {
        "xavier_uniform": lambda w: nn.init.xavier_uniform_(w, gain),
        "xavier_normal": lambda w: nn.init.xavier_normal_(w, gain),
        "kaiming_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="linear").mul_(gain),
        "kaiming_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear").mul_(gain),
        "orthogonal": lambda w: nn.init.orthogonal_(w, gain),
        "trunc_normal": lambda w: nn.init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04),
    }
    if init == "default":
        return
    gates = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}
    for layer in module.modules():
        if not isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, *gates)):
            continue
        for name, parameter in layer.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
            else:
                for matrix in parameter.detach().chunk(gates.get(type(layer), 1)):
                    draws[init](matrix)

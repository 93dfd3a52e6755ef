"""Networks of honest calls whose gradients are changed, lost or spoilt between the calls."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from faults.fault import in_wiring
from faults.network import rows


class Wired(nn.Module):
    """Three layers, (B, 5) to (B, 3)."""

    def __init__(self, faulty: bool) -> None:
        super().__init__()
        self.faulty = faulty
        self.first, self.second, self.last = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)


class HookDoubles(Wired):
    """A hook doubles a gradient: it is counted twice."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if self.faulty:
            y.register_hook(lambda g: 2 * g)
        y = torch.tanh(y)
        return self.last(torch.tanh(self.second(y)))


class HookClips(Wired):
    """A hook that was left over from a search for a fault clips a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        z = self.second(y)
        if self.faulty:
            z.register_hook(lambda g: None if g is None else g.clamp(-0.2, 0.2))  # None: as gradcheck tries, too
        return self.last(torch.tanh(z))


class HookZeroes(Wired):
    """A hook replaces a gradient by zeros."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        if self.faulty:
            y.register_hook(torch.zeros_like)
        z = self.second(y)
        return self.last(torch.tanh(z))


class LossScaled(Wired):
    """The gradient of the output is scaled up, as for half precision, and never scaled back."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        out = self.last(torch.tanh(self.second(y)))
        if self.faulty:
            out.register_hook(lambda g: 1024 * g)
        return out


class Residual(Wired):
    """A hook on a tensor that has two uses lets the gradient of one of them count twice."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        skipped = y.view_as(y)
        if self.faulty:
            skipped.register_hook(lambda g: 2 * g)
        z = torch.tanh(self.second(y))
        return self.last(z + skipped)


class ModuleHook(Wired):
    """A module's backward hook changes the gradient of its input by 0.1 %."""

    def __init__(self, faulty: bool) -> None:
        super().__init__(faulty)
        if faulty:
            self.second.register_full_backward_hook(lambda module, inputs, outputs: (1.001 * inputs[0],))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        z = self.second(y)
        return self.last(torch.tanh(z))


class Detached(Wired):
    """A detach cuts off the first layer."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        if self.faulty:
            y = y.detach()
        return self.last(torch.tanh(self.second(y)))


class DetachedInPart(Wired):
    """A detach cuts off one of two ways."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        z = torch.tanh(self.second(y.detach() if self.faulty else y))
        return self.last(y + z)


class WithoutGradients(Wired):
    """A part of the network runs under no_grad."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        with torch.set_grad_enabled(not self.faulty):
            z = self.second(y)
        return self.last(torch.tanh(z))


class ThroughNumPy(Wired):
    """A function of NumPy in the middle of the network."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if self.faulty:
            z = torch.from_numpy(np.tanh(y.detach().numpy()))
        else:
            z = torch.tanh(y)
        return self.last(torch.tanh(self.second(z)))


class TemperatureAsNumber(Wired):
    """A learned temperature is read with item()."""

    def __init__(self, faulty: bool) -> None:
        super().__init__(faulty)
        self.temperature = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.second(torch.tanh(self.first(x))))
        t = self.temperature.item() if self.faulty else self.temperature
        return self.last(y / t)


class TiedByData(Wired):
    """A weight that is used twice gets a gradient from one use, since the other takes its data."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.second(torch.tanh(self.first(x))))
        weight = self.second.weight.data if self.faulty else self.second.weight
        y = torch.nn.functional.linear(y, weight)
        return self.last(torch.tanh(y))


class Overwritten(Wired):
    """A result that its backward needs is overwritten through its data."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.exp(self.first(x))
        z = y + 1
        if self.faulty:
            y.data.mul_(0.5)
        return self.last(torch.tanh(self.second(z)))


class WeightOverwritten(Wired):
    """A weight is clipped through its data between the forward pass and the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        z = self.second(y)
        if self.faulty:
            self.second.weight.data.clamp_(-0.3, 0.3)
        return self.last(torch.tanh(z))


FAULTS = [
    in_wiring(HookDoubles, rows(7, 5), "self.first(x)", "torch.tanh(y)"),
    in_wiring(HookClips, rows(7, 5), "self.second(y)", "torch.tanh(z)"),
    in_wiring(HookZeroes, rows(7, 5), "self.first(x)", "self.second(y)"),
    in_wiring(LossScaled, rows(7, 5), "self.last("),
    in_wiring(Residual, rows(7, 5), "y.view_as(y)", "z + skipped"),
    in_wiring(ModuleHook, rows(7, 5), "self.second(y)", joint=False),
    in_wiring(Detached, rows(7, 5), "y.detach()"),
    in_wiring(DetachedInPart, rows(7, 5), "y.detach()"),
    in_wiring(WithoutGradients, rows(7, 5), "self.second(y)"),
    in_wiring(ThroughNumPy, rows(7, 5), "y.detach()"),
    in_wiring(TemperatureAsNumber, rows(7, 5), "self.temperature.item()"),
    in_wiring(TiedByData, rows(7, 5), "self.second.weight.data"),
    in_wiring(Overwritten, rows(7, 5), "torch.exp", joint=False),
    in_wiring(WeightOverwritten, rows(7, 5), "self.second(y)", joint=False),
]

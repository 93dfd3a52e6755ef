"""A continuous-time recurrent network, and the solver that it is run by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Explicit Runge-Kutta schemes: of each stage the weights of the slopes before it, and those of the step.
EULER = (((),), (1.0,))
RK4 = (((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))
Scheme = tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]


def _step(h: Tensor, drive: Tensor, weight: Tensor, tau: Tensor, dt: float, scheme: Scheme) -> tuple[Tensor, list]:
    """The state a step later; and of each stage its state, its activation and its slope, all (B, H)."""
    stages: list[tuple[Tensor, Tensor, Tensor]] = []
    for row in scheme[0]:
        y = _moved(h, row, stages, dt)
        z = torch.tanh(y @ weight.T + drive)
        stages.append((y, z, (z - y) / tau))
    return _moved(h, scheme[1], stages, dt), stages


def _moved(h: Tensor, weights: tuple[float, ...], stages: list, dt: float) -> Tensor:
    for c, (_, _, slope) in zip(weights, stages, strict=True):
        h = h + (dt * c) * slope if c else h
    return h


def solved(h: Tensor, drives: Tensor, weight: Tensor, tau: Tensor, dt: float, scheme: Scheme) -> Tensor:
    """tau dh/dt = -h + tanh(h W^T + drive) from h (B, H), a step for each of the drives (T, B, H) -> (T, B, H)."""
    states = []
    for drive in drives.unbind():
        h, _ = _step(h, drive, weight, tau, dt, scheme)
        states.append(h)
    return torch.stack(states)


class Adjoint(torch.autograd.Function):
    """`solved`, with a backward pass that integrates the adjoint equation from the end to the start.

    In continuous time a = dL/dh obeys da/dt = -(df/dh)^T a, and dL/dtheta is the integral of (df/dtheta)^T a
    (Pontryagin et al. 1962; Chen et al., "Neural Ordinary Differential Equations", 2018). What is solved here is the
    adjoint of the scheme itself: with slopes k_i = f(y_i), y_i = h + dt sum_j a_ij k_j and h' = h + dt sum_i b_i k_i,
        dk_i = dt b_i dh' + dt sum_j a_ji dy_j,   dy_i = (df/dy)^T dk_i,   dh = dh' + sum_i dy_i
    which is a Runge-Kutta scheme of the same order for the adjoint equation (Hager, "Runge-Kutta methods in optimal
    control and the transformed adjoint system", 2000), and the exact gradient of what was computed. Kept are the states
    alone, not the stages: h cannot be had by integrating backwards, as the leak -h / tau then grows without bound.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, drives: Tensor, weight: Tensor, tau: Tensor, dt: float, scheme: Scheme) -> Tensor:
        states = solved(h, drives, weight, tau, dt, scheme)
        ctx.save_for_backward(h, drives, weight, tau, states)
        ctx.scheme = dt, scheme
        return states

    @staticmethod
    def backward(ctx: Any, dstates: Tensor) -> tuple[Tensor | None, ...]:
        h, drives, weight, tau, states = ctx.saved_tensors
        dt, scheme = ctx.scheme
        dh, dweight, dtau = torch.zeros_like(h), torch.zeros_like(weight), torch.zeros_like(tau)
        ddrives = torch.zeros_like(drives)
        for t in reversed(range(len(drives))):
            before = states[t - 1] if t else h
            _, stages = _step(before, drives[t], weight, tau, dt, scheme)
            dh = dh + dstates[t]
            dslopes = [dt * b * dh for b in scheme[1]]
            for i, (y, z, slope) in reversed(list(enumerate(stages))):
                dtau -= (dslopes[i] * slope / tau).sum(0)
                leak = dslopes[i] / tau
                inner = leak * (1 - z.square())
                dweight += inner.T @ y  # (H, B) @ (B, H)
                ddrives[t] += inner
                dy = inner @ weight - leak
                dh = dh + dy
                for j, a in enumerate(scheme[0][i]):
                    dslopes[j] = dslopes[j] + dt * a * dy
        return dh, ddrives, dweight, dtau, None, None


class CTRNN(nn.Module):
    """tau dh/dt = -h + tanh(W h + U x + b), with a time constant for each unit.

    Signals (B, C, L) -> (B, O): from h = 0, x one of the L values for `substeps` steps each, the head on the last
    state. Rows (B, F) -> (B, T * O / T): h starts at a linear function of the row, nothing drives it, and the head
    reads it after each of T times `substeps` steps.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        steps: int | None,
        *,
        tau: float,
        dt: float,
        substeps: int,
        scheme: Scheme,
        adjoint: bool,
    ) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, hidden)  # U and b of signals; of rows, where the state starts
        self.weight = nn.Parameter(torch.empty(hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(hidden)) if steps else None
        self.log_tau = nn.Parameter(torch.full((hidden,), tau).log())
        self.head = nn.Linear(hidden, outputs)
        self.steps, self.dt, self.substeps, self.scheme, self.adjoint = steps, dt, substeps, scheme, adjoint
        nn.init.orthogonal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        given = self.input(x if self.steps else x.flatten(2).movedim(-1, 0))  # (B, H), or (L, B, H)
        if self.bias is None:
            h, drives = torch.zeros_like(given[0]), given.repeat_interleave(self.substeps, 0)
        else:
            h, drives = given, self.bias.expand(self.steps * self.substeps, *given.shape)  # type: ignore[operator]
        solve = Adjoint.apply if self.adjoint else solved
        states = solve(h, drives, self.weight, self.log_tau.exp(), self.dt, self.scheme)  # (T, B, H)
        if self.bias is None:
            return self.head(states[-1])
        return (
            self.head(states[self.substeps - 1 :: self.substeps]).transpose(0, 1).flatten(1)
        )  # (B, T, O) -> (B, T * O)

"""Recurrent steps whose gates or times are mistaken in the backward."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import Function

from faults.fault import in_backward
from faults.network import Applied, rows


class LSTMStep(Function):
    """One step of an LSTM: gates (B, 4 H) before their functions, cell (B, H) -> output (B, H)."""

    @staticmethod
    def forward(ctx, gates, cell):
        i, f, g, o = gates.chunk(4, 1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        c = torch.tanh(f * cell + i * g)
        ctx.save_for_backward(cell, i, f, g, o, c)
        return o * c

    @staticmethod
    def gradients(ctx, dh):
        cell, i, f, g, o, c = ctx.saved_tensors
        dc = dh * o * (1 - c * c)
        di, df = dc * g * i * (1 - i), dc * cell * f * (1 - f)
        return di, df, dc * i * (1 - g * g), dh * c * o * (1 - o), dc * f

    @staticmethod
    def backward(ctx, dh):
        di, df, dg, do, dcell = LSTMStep.gradients(ctx, dh)
        return torch.cat([di, df, dg, do], 1), dcell


class GatesSwapped(LSTMStep):
    """The gradients of input gate and forget gate are swapped."""

    @staticmethod
    def backward(ctx, dh):
        di, df, dg, do, dcell = LSTMStep.gradients(ctx, dh)
        return torch.cat([df, di, dg, do], 1), dcell


class CandidateBySigmoid(LSTMStep):
    """The candidate's gradient is that of a sigmoid, where it is a tanh."""

    @staticmethod
    def backward(ctx, dh):
        di, df, _, do, dcell = LSTMStep.gradients(ctx, dh)
        _, i, _, g, o, c = ctx.saved_tensors
        dg = dh * o * (1 - c * c) * i * g * (1 - g)
        return torch.cat([di, df, dg, do], 1), dcell


class CellWithoutTanh(LSTMStep):
    """The cell's gradient leaves out the tanh that follows it."""

    @staticmethod
    def backward(ctx, dh):
        di, df, dg, do, _ = LSTMStep.gradients(ctx, dh)
        _, _, f, _, o, _ = ctx.saved_tensors
        return torch.cat([di, df, dg, do], 1), dh * o * f


class LSTM(nn.Module):
    """Layers for gates and cell, the step, and a head."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.gates, self.cell, self.head, self.function = nn.Linear(5, 16), nn.Linear(5, 4), nn.Linear(4, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function.apply(self.gates(x), self.cell(x)))


class RNN(Function):
    """h_t = tanh(x_t + W h_(t-1)) from h_0 = 0: x (B, T, H), W (H, H) -> h (B, T, H)."""

    @staticmethod
    def forward(ctx, x, weight):
        states, h = [], torch.zeros_like(x[:, 0])
        for t in range(x.shape[1]):
            h = torch.tanh(x[:, t] + h @ weight.T)
            states.append(h)
        h = torch.stack(states, 1)
        ctx.save_for_backward(h, weight)
        return h

    @staticmethod
    def through_time(ctx, dy, carried=1.0):
        """The gradient of what tanh was taken of, (B, T, H); `carried` of it passes from one step to the one before."""
        h, weight = ctx.saved_tensors
        da, before = torch.zeros_like(h), torch.zeros_like(h[:, 0])
        for t in reversed(range(h.shape[1])):
            da[:, t] = (dy[:, t] + before) * (1 - h[:, t] ** 2)
            before = carried * (da[:, t] @ weight)
        return da

    @staticmethod
    def backward(ctx, dy):
        h, _ = ctx.saved_tensors
        da = RNN.through_time(ctx, dy)
        return da, torch.einsum("bti,btj->ij", da[:, 1:], h[:, :-1])


class TimeOffByOne(RNN):
    """The weight's gradient pairs each step with its own state instead of the one before."""

    @staticmethod
    def backward(ctx, dy):
        h, _ = ctx.saved_tensors
        da = RNN.through_time(ctx, dy)
        return da, torch.einsum("bti,btj->ij", da, h)


class NotThroughTime(RNN):
    """No gradient passes from a step to the one before."""

    @staticmethod
    def backward(ctx, dy):
        h, _ = ctx.saved_tensors
        da = RNN.through_time(ctx, dy, carried=0.0)
        return da, torch.einsum("bti,btj->ij", da[:, 1:], h[:, :-1])


class LastStepAlone(RNN):
    """The weight's gradient is that of the last step, overwritten instead of added to."""

    @staticmethod
    def backward(ctx, dy):
        h, _ = ctx.saved_tensors
        da = RNN.through_time(ctx, dy)
        return da, da[:, -1].T @ h[:, -2]


def recurrent(function: type[Function]) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), Applied(function, (4, 4)), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))


FAULTS = [
    in_backward(GatesSwapped, LSTM, rows(7, 5)),
    in_backward(CandidateBySigmoid, LSTM, rows(7, 5)),
    in_backward(CellWithoutTanh, LSTM, rows(7, 5)),
    in_backward(TimeOffByOne, recurrent, rows(3, 6, 5)),
    in_backward(NotThroughTime, recurrent, rows(3, 6, 5)),
    in_backward(LastStepAlone, recurrent, rows(3, 6, 5)),
]

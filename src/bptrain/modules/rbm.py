"""Restricted Boltzmann machine: binary visible and hidden units, joined in pairs of one of each."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bptrain.modules.draws import bernoulli

STATES = 2**26  # numbers in the table that enumerates a machine
TEMPERATURES, PARTICLES, SEED = 1000, 100, 0  # of annealed importance sampling


class RBM(nn.Module):
    """(B, *shape) of 0 and 1 -> free energies of the data (B,) and of the machine's own (M,).

    p(v, h) = exp(-E(v, h)) / Z with E(v, h) = -h^T W v - b^T v - c^T h, so that p(v) = exp(-F(v)) / Z with

        F(v) = -b^T v - sum_j log(1 + exp(c_j + W_j v)),
        d(-log p(v)) = dF(v) - mean of dF(v') over the v' of the machine.

    The second mean is that over M states: the ends of chains of `steps` steps of Gibbs sampling, which are constants
    to autograd. They start at the data, or where those of the step before ended (`chains` of them). An `exact` machine
    gives -log Z in their place (M = 1), whose gradient is that mean. So does every machine in evaluation, from
    `log_partition`.
    """

    chains: Tensor | None

    def __init__(self, visible: int, hidden: int, steps: int, chains: int, exact: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden, visible) * 0.01)  # Hinton, A Practical Guide, 2010
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.steps = steps
        self.exact = exact
        self.register_buffer("chains", torch.randint(2, (chains, visible)).float() if chains else None)

    def condition(self, inputs: Tensor, targets: Tensor) -> None:
        """Visible units start with the frequencies of the training part (Hinton 2010, section 8.1)."""
        ones = inputs.flatten(1).sum(0)  # (D,)
        with torch.no_grad():
            self.visible_bias.copy_(((ones + 1) / (len(inputs) - ones + 1)).log())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        v = x.flatten(1)  # (B, D)
        if self.exact or not self.training:
            return self.free_energy(v), -self.log_partition()[None]
        return self.free_energy(v), self.free_energy(self._sampled(v))

    def free_energy(self, v: Tensor) -> Tensor:
        return -(v @ self.visible_bias) - F.softplus(self._field(v)).sum(1)

    def _field(self, v: Tensor) -> Tensor:
        """What the hidden units get from the visible ones: p(h = 1 | v) is its sigmoid."""
        return F.linear(v, self.weight, self.hidden_bias)  # (B, H)

    @torch.no_grad()
    def _sampled(self, v: Tensor) -> Tensor:
        v = v if self.chains is None else self.chains
        for _ in range(self.steps):
            v = self._gibbs(v)
        if self.chains is not None:
            self.chains.copy_(v)
        return v

    def _gibbs(self, v: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draws the hidden units, then the visible ones, hidden and weights scaled by the inverse temperature."""
        h = bernoulli(temperature * self._field(v), generator)
        return bernoulli(self.visible_bias + temperature * (h @ self.weight), generator)

    def log_partition(self) -> Tensor:
        """log Z (): the sum over all states of the side with fewer units, or where they are too many an estimate.

        Summed over h, Z = sum_h exp(c^T h) prod_i (1 + exp(b_i + (h^T W)_i)), and likewise over v.
        """
        hidden, visible = self.weight.shape
        if not enumerable(visible, hidden):
            return self.annealed_log_partition()
        few = min(hidden, visible)
        numbers, places = (torch.arange(count, device=self.weight.device) for count in (2**few, few))
        states = ((numbers[:, None] >> places) & 1).to(self.weight.dtype)  # (2^few, few)
        if few == visible:
            return (-self.free_energy(states)).logsumexp(0)
        fields = F.softplus(states @ self.weight + self.visible_bias).sum(1)  # (2^few,)
        return (states @ self.hidden_bias + fields).logsumexp(0)

    @torch.no_grad()
    def annealed_log_partition(self) -> Tensor:
        """log Z by annealed importance sampling (Salakhutdinov and Murray 2008), the same each time it is asked.

        From p_0(v) ~ exp(b^T v), whose Z_0 = 2^H prod_i (1 + exp(b_i)) is known, to p_1 = p by way of
        p_t(v) ~ exp(b^T v) prod_j (1 + exp(t (c_j + W_j v))): log Z - log Z_0 is the logarithm of the mean of
        exp(sum of log p_t'(v) - log p_t(v)) over particles that move by p_t' after each rise from t to t'.
        """
        generator = torch.Generator(self.weight.device).manual_seed(SEED)
        v = bernoulli(self.visible_bias.expand(PARTICLES, -1), generator)
        gains = v.new_zeros(PARTICLES)
        for k in range(TEMPERATURES):
            field = self._field(v)  # (PARTICLES, H)
            low, high = k / TEMPERATURES, (k + 1) / TEMPERATURES
            gains += (F.softplus(high * field) - F.softplus(low * field)).sum(1)
            v = self._gibbs(v, high, generator)
        start = len(self.weight) * math.log(2) + F.softplus(self.visible_bias).sum()
        return start + gains.logsumexp(0) - math.log(PARTICLES)

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(v) (B,), and the mean of the visible units given that of the hidden ones (B, *shape)."""
        data, model = self(x)
        hidden = self._field(x.flatten(1)).sigmoid()
        return data - model, (hidden @ self.weight + self.visible_bias).sigmoid().reshape(x.shape)


def enumerable(visible: int, hidden: int) -> bool:
    """Whether all states of the side with fewer units, with a number for each of the other, fit into a table."""
    few, many = sorted((visible, hidden))
    return few <= 20 and 2**few * many <= STATES

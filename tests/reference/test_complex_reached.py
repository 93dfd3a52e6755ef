"""What goes through complex numbers comes out verified, in float64 and in float32: transforms, filters, rotations."""

import pytest
import torch
from torch import nn

import bptrain
from bptrain.check.verdict import NUMERICAL, VERIFIED
from bptrain.reference.rule import rule_for

SIGNALS = {
    "spectrum": lambda x: torch.fft.fft(x).abs(),
    "power": lambda x: torch.view_as_real(torch.fft.rfft(x, norm="ortho")).square().sum(-1),
    "low pass": lambda x: torch.fft.irfft(torch.fft.rfft(x)[..., :2], n=5),
    "images": lambda x: torch.fft.ifft2(torch.fft.fft2(x) * torch.fft.fft2(x.flip(1)).conj()).real,
    "images, halves": lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 1j, s=(3, 5)),
    "all axes": lambda x: torch.fft.irfftn(torch.fft.rfftn(x)) + torch.fft.ifftn(torch.fft.fftn(x)).imag[:, :4],
    "middle": lambda x: torch.fft.ifftshift(torch.fft.fftshift(torch.fft.fft(x))).angle(),
    "rotation": lambda x: torch.view_as_real(
        torch.view_as_complex(x[:, :4].contiguous().view(3, 2, 2)) * torch.polar(torch.ones_like(x[:, :2]), x[:, :2])
    ),
    "phases": lambda x: (torch.exp(1j * x) @ torch.complex(x, x + 1).mH / (2 + x @ x.mT)).abs(),
    "pieces": lambda x: torch.cat([torch.fft.fft(x), torch.fft.ifft(x)], 1).T.reshape(-1)[::3].conj().imag,
    "einsum": lambda x: torch.einsum("ik,jk->ij", torch.fft.fft(x), torch.fft.ifft(x)).real,
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", SIGNALS)
def test_a_function_of_complex_numbers_is_verified(name, dtype):
    x = torch.rand(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    report = bptrain.check_gradients(SIGNALS[name], x)
    assert report.verdict == VERIFIED, str(report)


class SpectralFilter(nn.Module):
    """A convolution over the whole signal: each frequency times a complex weight of its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3, 3, dtype=torch.complex64))  # (I, O, frequencies)

    def forward(self, x):
        return torch.fft.irfft(torch.einsum("bif,iof->bof", torch.fft.rfft(x), self.weight), n=x.shape[-1])


def test_a_module_with_complex_parameters_is_verified():
    torch.manual_seed(0)
    report = bptrain.check_gradients(SpectralFilter(), torch.randn(4, 2, 5))
    assert report.verdict == VERIFIED, str(report)
    assert report.parameters["weight"].digits > 5


class Conjugated(torch.autograd.Function):
    """z -> 2 z with the gradient of conj(z): wrong in its imaginary part only."""

    @staticmethod
    def forward(ctx, z):
        return z * 2

    @staticmethod
    def backward(ctx, dy):
        return dy.conj() * 2


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
def test_a_wrong_imaginary_part_is_found(dtype):
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.complex128).to(dtype)
    assert bptrain.check_gradients(lambda z: (z * 2).abs(), z).verdict == VERIFIED
    assert not bptrain.check_gradients(lambda z: Conjugated.apply(z).abs(), z).ok


def test_a_rule_for_real_numbers_is_not_asked_about_complex_ones():
    assert not rule_for(torch.tanh).complex
    z = torch.randn(3, generator=torch.Generator().manual_seed(0), dtype=torch.complex64)
    report = bptrain.check_gradients(lambda z: torch.tanh(z).abs(), z)
    assert report.verdict == NUMERICAL, str(report)

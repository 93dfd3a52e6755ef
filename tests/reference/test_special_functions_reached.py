"""Special functions, order and strides, samples and spectra: every spelling comes out verified, in both precisions."""

import math

import pytest
import torch
import torch.nn.functional as F

import bptrain
from bptrain.reference.rules.bessel import scaled_bessel
from bptrain.reference.rules.error_function import inverse_erfc, scaled_erfc
from bptrain.reference.rules.gamma_function import hurwitz_zeta, log_gamma, polygamma
from bptrain.reference.rules.implicit_sample import gamma_slope
from bptrain.reference.rules.incomplete_gamma import incomplete_gamma

special = torch.special
ROWS = torch.tensor([2, 0])
IMAGE, SPACE = torch.arange(40.0).sin().reshape(1, 2, 4, 5), torch.arange(48.0).sin().reshape(1, 2, 3, 4, 2)
WINDOW = torch.hann_window(6, periodic=False) + 0.1
IN_PLACE = "lgamma digamma i0".split()


def in_place(name, *settings):
    return lambda x, z, v: getattr(x.clone(), f"{name}_")(*settings)


def holed(x):
    return torch.where(torch.tensor([False, True, False, False]), math.nan, x)


def reduced(x, z, **options):
    return sum(torch.index_reduce(x, 0, ROWS, z[:2], how, **options) for how in ("prod", "mean", "amax", "amin"))


# x (3, 4) lies in (0.1, 0.9), z (3, 4) and v (4) in (-2, 2).
FUNCTIONS = {
    "lgamma": lambda x, z, v: torch.lgamma(x) + x.lgamma() + special.gammaln(z),
    "digamma": lambda x, z, v: torch.digamma(x) + x.digamma() + special.digamma(z) + special.psi(x),
    "polygamma": lambda x, z, v: torch.polygamma(1, x) + special.polygamma(2, x) + x.polygamma(0) + x.polygamma(n=3),
    "polygamma below 0": lambda x, z, v: torch.polygamma(1, z) + torch.polygamma(0, z),
    "mvlgamma": lambda x, z, v: torch.mvlgamma(x + 2, 3) + (x + 1).mvlgamma(p=2) + special.multigammaln(x + 1, 1),
    "polygamma_": in_place("polygamma", 1),
    "mvlgamma_": lambda x, z, v: (x + 1).mvlgamma_(2),
    "zeta": lambda x, z, v: special.zeta(2.5, x) + special.zeta(v.detach().abs() + 1.1, x) + special.zeta(2, z),
    "igamma": lambda x, z, v: torch.igamma(z.detach().abs(), 2 * x) + special.gammainc(v.detach().abs(), x),
    "igammac": lambda x, z, v: torch.igammac(z.detach().abs(), 2 * x) + special.gammaincc(v.detach().abs(), x),
    "igamma, methods": lambda x, z, v: v.detach().abs().igamma(x) + v.detach().abs().igammac(x),
    "bessel": lambda x, z, v: torch.i0(z) + z.i0() + special.i0(z) + special.i0e(z) + special.i1(z) + special.i1e(z),
    "bessel, large": lambda x, z, v: special.i0e(40 * z) + special.i1e(40 * z),
    "erfcx": lambda x, z, v: special.erfcx(z) + special.erfcx(20 * x),
    "normal distribution": lambda x, z, v: special.ndtr(z) + special.log_ndtr(5 * z) + special.ndtri(x),
    "entropies": lambda x, z, v: special.entr(x) + special.xlog1py(z, x) + special.xlog1py(0.7, x),
    "in place": lambda x, z, v: sum(getattr(x.clone(), f"{name}_")() for name in IN_PLACE),
    # two numbers
    "fmax, fmin": lambda x, z, v: torch.fmax(x, z) + x.fmin(v) + torch.fmin(z, x) + z.fmax(v),
    "ldexp": lambda x, z, v: torch.ldexp(x, v) + x.ldexp(torch.tensor(2)) + x.clone().ldexp_(z),
    "frexp": lambda x, z, v: torch.frexp(z).mantissa + z.frexp()[0] * v,
    "reversed operands": lambda x, z, v: x.__rtruediv__(z) + x.__rpow__(z.abs() + 0.1) + 1 / x,
    # reductions and order
    "dist": lambda x, z, v: torch.dist(x, z) + x.dist(v, 1) + x.dist(z, p=math.inf) + torch.dist(x, z, 3.0),
    "renorm": lambda x, z, v: torch.renorm(z, 2, 0, 1.5) + z.renorm(1, 1, 0.7) + z.clone().renorm_(3, -1, 1.0),
    "norm_except_dim": lambda x, z, v: torch.norm_except_dim(z, 2, 0) + torch.norm_except_dim(z, 2, -1),
    "nanmedian": lambda x, z, v: holed(x).nanmedian(1).values + torch.nanmedian(holed(z)) + z.nanmedian(),
    "nanquantile": lambda x, z, v: torch.nanquantile(holed(z), x[0, :3], 1)[:, :1] + z.nanquantile(0.3),
    "quantile of a tensor": lambda x, z, v: torch.quantile(z, x[0], dim=1) + z.quantile(x[1, 0], interpolation="lower"),
    "index_reduce": lambda x, z, v: reduced(x, z) + reduced(x, z, include_self=False),
    "index_reduce_": lambda x, z, v: (
        x.clone().index_reduce_(1, ROWS, z[:, :2], "amax") + x.index_reduce(0, ROWS, z[:2], "prod")
    ),
    "cov": lambda x, z, v: torch.cov(x) + z.cov(correction=2, aweights=x[0], fweights=torch.tensor([1, 2, 1, 3])),
    "corrcoef": lambda x, z, v: torch.corrcoef(x) * z.corrcoef(),
    "trapezoid": lambda x, z, v: torch.trapezoid(x, v) + torch.trapz(z, dx=0.5) + torch.trapezoid(x, z, dim=1),
    "cumulative_trapezoid": lambda x, z, v: torch.cumulative_trapezoid(x, z) + torch.cumulative_trapezoid(z, v),
    "gradient": lambda x, z, v: sum(torch.gradient(x, edge_order=2)) + torch.gradient(z, spacing=0.5, dim=1)[0],
    "combinations": lambda x, z, v: torch.combinations(v) + torch.combinations(x[0], with_replacement=True)[:6],
    # memory
    "as_strided": lambda x, z, v: x.as_strided((2, 3), (1, 2), 3) + torch.as_strided(z, (2, 3), (3, 4)),
    "as_strided_": in_place("as_strided", (3, 4), (2, 1)),
    "copies": lambda x, z, v: (
        torch.view_copy(x, (4, 3))
        + torch.permute_copy(z, (1, 0))
        + torch.transpose_copy(x, 0, 1)
        + torch.t_copy(torch.alias_copy(z))
        + torch.unsqueeze_copy(torch.select_copy(x, 1, 0), 0)
        + torch.squeeze_copy(v[:, None, None], 1)
        + torch.expand_copy(v[:, None], (4, 3))
        + torch.unfold_copy(v, 0, 3, 1)[0]
    ),
    "copies of pieces": lambda x, z, v: (
        torch.split_copy(x, 2, 1)[0]
        + torch.split_with_sizes_copy(x, [1, 3], 1)[0]
        + torch.unbind_copy(z, 1)[0][:, None]
        + torch.diagonal_copy(x)[:, None]
    ),
    "unsafe pieces": lambda x, z, v: (
        x.unsafe_chunk(2, 1)[0] + z.unsafe_split(2, 1)[1] + x.unsafe_split_with_sizes([2, 2], 1)[0]
    ),
    "reversed": lambda x, z, v: x.__reversed__() * z,
    "fill_diagonal_": in_place("fill_diagonal", 0.5),
    "float_power_": lambda x, z, v: (x.double() * 1.0).float_power_(2.5),
    "cdouble": lambda x, z, v: torch.view_as_real(x.cdouble() * 1j),
    # places and spectra
    "grid_sample": lambda x, z, v: F.grid_sample(IMAGE.to(x.dtype), z.reshape(1, 2, 3, 2), align_corners=False) * v[0],
    "grid_sample, bicubic": lambda x, z, v: F.grid_sample(
        x[None, None], z.reshape(1, 3, 2, 2), "bicubic", "reflection", align_corners=True
    ),
    "grid_sample, volume": lambda x, z, v: F.grid_sample(
        SPACE.to(x.dtype), z.reshape(1, 2, 2, 1, 3), padding_mode="border", align_corners=True
    ),
    "grid_sampler": lambda x, z, v: torch.grid_sampler(x[None, None], z.reshape(1, 3, 2, 2), 1, 0, False),
    "identity, corners": lambda x, z, v: transformed(x, torch.eye(2, 3).to(x.dtype) + 0 * v[0], True),
    "identity": lambda x, z, v: transformed(x, torch.eye(2, 3).to(x.dtype) + 0 * v[0], False),
    "conv_tbc": lambda x, z, v: F.conv_tbc(x[:, :, None], z.reshape(3, 1, 4), v, 1),
    "stft": lambda x, z, v: torch.stft(z.reshape(-1), 6, 2, window=WINDOW.to(x.dtype), return_complex=True).abs(),
    "stft, method": lambda x, z, v: torch.view_as_real(z.stft(4, window=v, onesided=False, return_complex=True)),
    "istft": lambda x, z, v: torch.istft(
        torch.stft(z.reshape(-1), 6, 2, window=WINDOW.to(x.dtype), return_complex=True),
        6,
        2,
        window=WINDOW.to(x.dtype) * v[0],
    ),
    # draws that are written over
    "overwritten": lambda x, z, v: sum(
        (getattr(x * 1.0, name)(*settings) + x)
        for name, *settings in (["normal_"], ["uniform_", -1, 1], ["exponential_"], ["cauchy_"], ["log_normal_"])
    ),
    "drawn": lambda x, z, v: x * (x * 1.0).bernoulli_(0.3) + (x * 1.0).geometric_(0.3) * z + (x * 1.0).random_(0, 4),
}


def transformed(x, map, align):
    image = torch.cat([x, x[:, :3]], 1)[None, None]  # (1, 1, 3, 7)
    return F.grid_sample(image, F.affine_grid(map[None], image.shape, align_corners=align), align_corners=align)


def inputs(dtype):
    generator = torch.Generator().manual_seed(0)
    x, z, v = (torch.rand(shape, generator=generator, dtype=torch.float64) for shape in ((3, 4), (3, 4), (4,)))
    return tuple(t.to(dtype) for t in (0.1 + 0.8 * x, 4 * z - 2, 4 * v - 2))


@pytest.mark.filterwarnings("ignore:index_reduce.* is in beta")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_special_function_is_verified(name, dtype):
    report = bptrain.check_gradients(FUNCTIONS[name], inputs(dtype))
    assert report.calls, "nothing was recorded"
    assert report.verdict == "verified", str(report)


# Of Abramowitz and Stegun: 6.1.8, 6.3.3, 6.4.4, 6.4.2, 23.2.16, tables 9.8 and 7.1, 6.5.13; or worked out from these.
VALUES = {
    "log_gamma(1/2)": (log_gamma, 0.5, math.log(math.pi) / 2),
    "log_gamma(-1/2)": (log_gamma, -0.5, math.log(2 * math.sqrt(math.pi))),
    "log_gamma(101)": (log_gamma, 101.0, math.log(math.factorial(100))),
    "psi(1)": (lambda x: polygamma(0, x), 1.0, -0.5772156649015329),
    "psi(-1/2)": (lambda x: polygamma(0, x), -0.5, 2 - 0.5772156649015329 - math.log(4)),
    "psi'(1/2)": (lambda x: polygamma(1, x), 0.5, math.pi**2 / 2),
    "psi''(1)": (lambda x: polygamma(2, x), 1.0, -2 * 1.2020569031595942),
    "third derivative of psi(-1/2)": (lambda x: polygamma(3, x), -0.5, math.pi**4 + 96),
    "zeta(2, 1)": (lambda q: hurwitz_zeta(2, q), 1.0, math.pi**2 / 6),
    "zeta(4, 2)": (lambda q: hurwitz_zeta(4, q), 2.0, math.pi**4 / 90 - 1),
    "I0(1) / e": (lambda x: scaled_bessel(0, x), 1.0, 0.46575960759364043),
    "I1(5) / e^5": (lambda x: scaled_bessel(1, x), 5.0, 0.16397226694454236),
    "erfcx(1)": (scaled_erfc, 1.0, 0.427583576155807),
    "erfcx(100)": (scaled_erfc, 100.0, 0.005641613782989433),
    "inverse of erfc(3)": (inverse_erfc, math.erfc(3.0), 3.0),
    "P(1, 2)": (lambda x: incomplete_gamma(torch.ones_like(x), x, False)[0], 2.0, 1 - math.exp(-2)),
    "Q(1, 7)": (lambda x: incomplete_gamma(torch.ones_like(x), x, True)[0], 7.0, math.exp(-7)),
    # by differences of P(a, x) in 40 digits
    "slope of an exponential draw": (lambda y: gamma_slope(y, torch.ones_like(y)), math.log(2), 0.968044830442044487),
}


@pytest.mark.parametrize(("function", "x", "value"), VALUES.values(), ids=VALUES)
def test_a_series_has_the_value_of_the_tables(function, x, value):
    assert function(torch.tensor([x], dtype=torch.float64)).item() == pytest.approx(value, rel=1e-13)


KINKS = {
    "entr": (special.entr, [0.0, 1.0], 1),
    "i0e": (special.i0e, [0.0, 1.0], 1),
    "i1e": (special.i1e, [0.0, 1.0], 0),
    "fmax": (lambda x: torch.fmax(x, torch.ones_like(x)), [0.0, 1.0], 1),
    "dist": (lambda x: torch.dist(x, torch.zeros_like(x)), [0.0, 0.0], 1),
    "renorm": (lambda x: (x[:, None] * 1.0).renorm(2, 0, 3.0), [3.0, 4.0], 1),
    "nanmedian": (torch.nanmedian, [1.0, 1.0, 2.0], 1),
    "nanquantile": (lambda x: x.nanquantile(0.5), [1.0, 1.0, 2.0], 1),
    "index_reduce": (lambda x: (x * 0).index_reduce(0, ROWS, x[[0, 0]] * 0, "amin"), [1.0, 1.0, 2.0], 2),
    "grid_sample": (lambda x: F.grid_sample(IMAGE.double(), x[None, None, None], align_corners=True), [-0.5, -1.0], 2),
    "weight_norm": (lambda x: torch._weight_norm(x[:, None], x[:, None] + 1, 0), [0.5, 2.0], 0),
}


@pytest.mark.filterwarnings("ignore:index_reduce.* is in beta")
@pytest.mark.parametrize(("function", "x", "count"), KINKS.values(), ids=KINKS)
def test_kinks_of_special_functions_are_counted(function, x, count):
    report = bptrain.check_gradients(function, torch.tensor(x, dtype=torch.float64))
    assert report.verdict != "wrong", str(report)
    assert report.kinks == count


DRAWS = {
    "normal": lambda x: torch.normal(x, x),
    "bernoulli": torch.bernoulli,
    "poisson": lambda x: torch.poisson(x) + x.bernoulli(),
    "bernoulli_": lambda x: torch.zeros_like(x).bernoulli_(x) * x,
    "gamma": lambda x: torch._standard_gamma(x + 0.5),
    "beta": lambda x: torch.distributions.Beta(x, 1 + x, validate_args=False).rsample(),
    "dirichlet": lambda x: torch.distributions.Dirichlet(x, validate_args=False).rsample(),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", DRAWS)
def test_what_passes_a_draw_is_a_contract(name, dtype):
    report = bptrain.check_gradients(DRAWS[name], inputs(dtype)[0])
    assert report.verdict == "contract", str(report)


@pytest.mark.parametrize("distribution", ["Gamma", "Beta", "StudentT", "Kumaraswamy"])
def test_densities_made_of_special_functions_are_verified(distribution):
    value = 0.3 + 0.5 * torch.eye(3, 4)

    def log_density(x, z, v):
        made = getattr(torch.distributions, distribution)(1 + x, 2 - x, validate_args=False)
        return made.log_prob(value) + made.entropy().sum()

    report = bptrain.check_gradients(log_density, inputs(torch.float32))
    assert report.verdict == "verified", str(report)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_a_weight_normalized_layer_is_verified(dim):
    torch.manual_seed(0)
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 3), dim=dim)
    report = bptrain.check_gradients(layer, torch.randn(2, 4))
    assert report.verdict == "verified"
    assert report.coverage["parameters"] == 1


@pytest.mark.filterwarnings("ignore:A window was not provided", "ignore:stft with return_complex")
def test_a_spectrogram_without_a_window_is_verified():
    def spectrogram(x, z, v):
        whole = z.reshape(-1).stft(5, return_complex=True, center=False)
        return whole.istft(5, center=False).sum() + torch.stft(v, 4, return_complex=False).sum()

    report = bptrain.check_gradients(spectrogram, inputs(torch.float32))
    assert report.verdict == "verified", str(report)


WRONG_IN_TORCH = {  # 2.13
    "as_strided_scatter": lambda x, z, v: torch.as_strided_scatter(x, v[:2], (2,), (3,)),
    "ldexp of integers below 0": lambda x, z, v: torch.ldexp(x, torch.tensor([-1, 0, 2, 1])),
}


@pytest.mark.parametrize("name", WRONG_IN_TORCH)
def test_a_wrong_backward_of_torch_is_found(name):
    report = bptrain.check_gradients(WRONG_IN_TORCH[name], inputs(torch.float64))
    (call,) = [call for call in report.culprits if call.verdict == "wrong"]
    assert call.function.removeprefix("torch.") in name

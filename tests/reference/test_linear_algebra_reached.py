"""The functions of linear algebra come out verified, in float64 and in float32, in all their spellings."""

import pytest
import torch

import bptrain
from bptrain.check.verdict import UNVERIFIED, VERIFIED, WRONG
from bptrain.reference.dtype import inner
from bptrain.reference.rule import bind, rule_for, run_backward, run_forward

L = torch.linalg
ONE = torch.eye(3, dtype=torch.float64)
SINGULAR = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], dtype=torch.float64)
NEARLY_ONE = ONE + 1e-9 * (SINGULAR + SINGULAR.mT)


def positive(a):
    return a @ a.mH + torch.eye(a.shape[-1], dtype=a.dtype)


def lower(a):
    return a.tril() + 2 * torch.eye(a.shape[-1], dtype=a.dtype)


def complex_of(a):
    return torch.complex(a, a.roll(1, -1).mT)


# a (3, 3) is near the unit matrix, b (3, 2), z (2, 3, 3) a batch of such as a, w (4, 3) of more rows than columns.
FUNCTIONS = {
    "det": lambda a, b, z, w: a.det() + torch.det(z) + L.det(a @ z),
    "det, complex": lambda a, b, z, w: L.det(complex_of(z)).abs(),
    "logdet": lambda a, b, z, w: positive(a).logdet() + torch.logdet(positive(z)),
    "slogdet": lambda a, b, z, w: a.slogdet()[1] + torch.slogdet(z).logabsdet + L.slogdet(z)[0],
    "slogdet, complex": lambda a, b, z, w: L.slogdet(complex_of(z))[0].imag + torch.logdet(complex_of(a)).imag,
    "inverse": lambda a, b, z, w: a.inverse() + torch.inverse(z) + L.inv(z) + L.inv_ex(a).inverse,
    "inverse, complex": lambda a, b, z, w: L.inv(complex_of(z)).abs(),
    "solve": lambda a, b, z, w: L.solve(a, b) + L.solve(z, b) + L.solve_ex(z, b[:, :1]).result,
    "solve, right": lambda a, b, z, w: L.solve(z, w, left=False) + L.solve(a, b[:, 0]),
    "tensorinv": lambda a, b, z, w: L.tensorinv(a.reshape(3, 3, 1), ind=1) + L.tensorsolve(a, b[:, 0]),
    "solve_triangular": lambda a, b, z, w: (
        L.solve_triangular(a, b, upper=True) + L.solve_triangular(z, b, upper=False, unitriangular=True)
    ),
    "solve_triangular, right": lambda a, b, z, w: L.solve_triangular(z.mH, w, upper=True, left=False),
    "triangular_solve": lambda a, b, z, w: (
        b.triangular_solve(a, upper=False)[0] + torch.triangular_solve(b, a, transpose=True).solution
    ),
    "cholesky": lambda a, b, z, w: L.cholesky(positive(a)) + L.cholesky_ex(positive(z), upper=True).L,
    "cholesky, old": lambda a, b, z, w: positive(a).cholesky() + torch.cholesky(positive(z), upper=True),
    "cholesky, complex": lambda a, b, z, w: L.cholesky(positive(complex_of(z))).abs(),
    "cholesky_solve": lambda a, b, z, w: torch.cholesky_solve(b, lower(z)) + b.cholesky_solve(lower(a).mT, upper=True),
    "cholesky_inverse": lambda a, b, z, w: torch.cholesky_inverse(lower(z)) + lower(a).mT.cholesky_inverse(upper=True),
    "lu_factor": lambda a, b, z, w: L.lu_factor(z)[0] + L.lu_factor_ex(a).LU + torch.lu(a)[0] + a.lu(get_infos=True)[0],
    "lu": lambda a, b, z, w: L.lu(w)[1].sum() + L.lu(w.mT)[2].sum() + sum(torch.lu_unpack(*L.lu_factor(z))).sum(0),
    "lu_solve": lambda a, b, z, w: (
        L.lu_solve(*L.lu_factor(z), b) + L.lu_solve(*L.lu_factor(a), b.mT, left=False, adjoint=True).mT
    ),
    "lu_solve, old": lambda a, b, z, w: torch.lu_solve(b, *a.lu()) + b.lu_solve(*L.lu_factor(a)),
    "qr": lambda a, b, z, w: L.qr(w)[0].sum() + L.qr(w).R + L.qr(w.mT, mode="complete")[1][:, 1:] + w.qr()[1],
    "qr, complex": lambda a, b, z, w: L.qr(complex_of(z))[0].abs() + torch.qr(a, some=True)[0],
    "householder_product": lambda a, b, z, w: L.householder_product(w, b[:, 0]) + torch.orgqr(w, b[:, 1]),
    "eigh": lambda a, b, z, w: L.eigh(positive(z))[0][:, None] * L.eigh(positive(a), UPLO="U").eigenvectors,
    "eigh, complex": lambda a, b, z, w: through(*L.eigh(positive(complex_of(z)))).abs(),
    "eigvalsh": lambda a, b, z, w: L.eigvalsh(a + a.mT) + L.eigvalsh(positive(z), "U"),
    "svd": lambda a, b, z, w: sum(x.sum() for x in (*L.svd(w), *w.svd(), *torch.svd(z), *L.svd(b, False))),
    "svd, complex": lambda a, b, z, w: svd_invariant(complex_of(z)),
    "svdvals": lambda a, b, z, w: L.svdvals(w) + L.svdvals(z) + torch.svd(a, compute_uv=False)[1],
    "pinv": lambda a, b, z, w: L.pinv(w) + w.mT.pinverse().mT + torch.pinverse(w, 1e-5) + L.pinv(w.mT, rtol=1e-5).mT,
    "pinv, Hermitian": lambda a, b, z, w: L.pinv(positive(z), hermitian=True),
    "lstsq": lambda a, b, z, w: L.lstsq(w, w @ b).solution + L.lstsq(z, b.expand(2, 3, 2), driver="gels")[0],
    "lstsq, residuals": lambda a, b, z, w: L.lstsq(w, torch.cat([b, b[:1]]), driver="gels").residuals,
    "matrix_power": lambda a, b, z, w: L.matrix_power(z, 3) + torch.matrix_power(a, -2) + a.matrix_power(5),
    "matrix_exp": lambda a, b, z, w: L.matrix_exp(3 * z) + torch.matrix_exp(a) + a.matrix_exp(),
    "norms of matrices": lambda a, b, z, w: sum(
        L.matrix_norm(w, p) + L.norm(z, p, (0, -1)).sum() for p in ("fro", "nuc", 2, -2, 1, -1, torch.inf, -torch.inf)
    ),
    "norms, old": lambda a, b, z, w: torch.norm(w, "nuc") + z.norm("nuc", (0, 2)) + torch.norm(w, 2) + L.norm(w, 2),
    "cond": lambda a, b, z, w: L.cond(w) + L.cond(z, -2) + L.cond(a, p="nuc"),
    "vander": lambda a, b, z, w: L.vander(b, N=4) + L.vander(b).sum(),
    "hfft": lambda a, b, z, w: torch.fft.hfft(complex_of(z)) + torch.fft.ihfft(w, n=5, norm="ortho").abs().sum(),
    "hfftn": lambda a, b, z, w: torch.fft.hfftn(complex_of(z)) + torch.fft.ihfftn(w).abs().sum(),
    "hfft2": lambda a, b, z, w: torch.fft.hfft2(complex_of(z)) + torch.fft.ihfft2(w).abs().sum(),
}


def through(w, v):
    return (v * w.log()[..., None, :]) @ v.mH


def svd_invariant(c):
    u, s, vh = L.svd(c)
    return ((u * s[..., None, :] ** 2) @ vh).abs()


def inputs(dtype):
    generator = torch.Generator().manual_seed(0)
    shapes = (3, 3), (3, 2), (2, 3, 3), (4, 3)
    a, b, z, w = (torch.rand(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    identity = torch.eye(3, dtype=torch.float64)
    return tuple(t.to(dtype) for t in (a + identity, b, z + identity, w))


@pytest.mark.filterwarnings("ignore:torch.* is deprecated")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_linear_algebra_is_verified(name, dtype):
    report = bptrain.check_gradients(FUNCTIONS[name], inputs(dtype))
    assert report.verdict == VERIFIED, str(report)


def test_a_matrix_that_is_singular_in_float32_alone_is_verified():
    x = torch.rand(8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def likelihood(x):
        kernel = torch.exp(-torch.cdist(x, x).square() / 50) + 1e-8 * torch.eye(8, dtype=x.dtype)
        factor = L.cholesky(kernel)
        return (x * torch.cholesky_solve(x, factor)).sum() + factor.diagonal().log().sum() + L.solve(kernel, x).sum()

    assert bptrain.check_gradients(likelihood, x).verdict == VERIFIED


def symmetric(x):
    return x + x.mT


# These read one triangle of their first or second argument: (the others, which one, what it has to be).
TRIANGLES = {
    L.cholesky: ([], 0, symmetric),
    torch.cholesky_solve: ([torch.ones(3, 2, dtype=torch.float64)], 1, torch.tril),
    torch.cholesky_inverse: ([], 0, torch.tril),
    L.eigh: ([], 0, symmetric),
    L.eigvalsh: ([], 0, symmetric),
}


@pytest.mark.parametrize("function", TRIANGLES, ids=lambda f: f.__name__)
def test_a_rule_for_one_triangle_is_the_derivative_among_the_matrices_it_is_for(function):
    others, place, like = TRIANGLES[function]
    generator = torch.Generator().manual_seed(0)
    a, direction = (like(torch.rand(3, 3, generator=generator, dtype=torch.float64)) for _ in range(2))
    rule = rule_for(function)

    def again(*args, function=function, **kwargs):
        with torch.utils._python_dispatch._disable_current_modes():
            return function(*args, **kwargs)

    def result(h):
        args = [*others[:place], a + 4 * ONE + h * direction, *others[place:]]
        y, cache = run_forward(rule, bind(rule, tuple(args), {}), again)
        return (y if isinstance(y, tuple) else (y,)), cache

    y, cache = result(0.0)
    dy = tuple(torch.rand(t.shape, generator=generator, dtype=t.dtype) for t in y)
    gradient = list(run_backward(rule, cache, dy if len(dy) > 1 else dy[0]).values())[place]
    after, before = (sum(map(inner, result(h)[0], dy)) for h in (1e-4, -1e-4))
    assert (after - before) / 2e-4 == pytest.approx(inner(gradient, direction), rel=1e-6)


@pytest.mark.parametrize("function", [L.cholesky, L.eigvalsh], ids=lambda f: f.__name__)
def test_of_a_matrix_that_is_not_symmetric_one_triangle_is_read_by_contract(function):
    (call,) = bptrain.check_gradients(function, (ONE + SINGULAR / 20).tril()).calls
    assert call.verdict == "contract"
    assert "one triangle" in call.arbiter
    assert bptrain.check_gradients(function, ONE + symmetric(SINGULAR) / 40).verdict == VERIFIED


@pytest.mark.parametrize("x", [SINGULAR, torch.diag(torch.tensor([1.0, 0.0, 2.0]))], ids=["full", "diagonal"])
def test_torch_s_own_gradient_of_a_determinant_that_is_0_is_wrong_in_the_eyes_of_differences_too(x):
    (call,) = bptrain.check_gradients(torch.det, x).culprits
    assert call.verdict == WRONG
    assert call.arbiter == "differences agree with the reference"


def test_the_determinant_of_a_matrix_that_is_singular_twice_or_but_for_rounding_is_verified():
    x = torch.rand(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert bptrain.check_gradients(torch.det, torch.diag(torch.tensor([1.0, 0.0, 0.0]))).verdict == VERIFIED
    assert bptrain.check_gradients(torch.det, torch.cat([x, x.flip(1), x[:, :1] - x[:, 1:]], 1)[:, :4]).ok


# What equal values or the value 0 leave open: (function, argument, verdict, how many there are).
OPEN = {
    "eigenvectors": (lambda x: L.eigh(x)[1], ONE, UNVERIFIED, 3),
    "eigenvectors not asked for": (lambda x: L.eigh(x)[0], ONE, VERIFIED, 3),
    "eigenvalues": (L.eigvalsh, ONE, VERIFIED, 3),
    "eigenvalues near each other": (L.eigvalsh, NEARLY_ONE, VERIFIED, 0),
    "function of near eigenvalues": (lambda x: through(*L.eigh(x)), NEARLY_ONE, VERIFIED, 0),
    "singular vectors": (lambda x: L.svd(x)[0], SINGULAR, VERIFIED, 1),
    "singular vectors of equal values": (lambda x: L.svd(x)[0], ONE, UNVERIFIED, 3),
    "singular vectors beyond the rank": (lambda x: L.svd(x[:, :2] @ x[:2, :1] @ ONE[:1])[0], ONE, UNVERIFIED, 2),
    "singular values": (L.svdvals, SINGULAR, VERIFIED, 1),
    "nuclear norm": (lambda x: L.matrix_norm(x, "nuc"), SINGULAR, UNVERIFIED, 1),
    "spectral norm": (lambda x: L.matrix_norm(x, 2), ONE, UNVERIFIED, 3),
    "spectral norm alone": (lambda x: L.matrix_norm(x, 2), SINGULAR, VERIFIED, 0),
    "sum of columns": (lambda x: L.matrix_norm(x, 1), ONE, VERIFIED, 1 + 6),  # the tie, and the zeros
    "pseudoinverse": (L.pinv, SINGULAR, VERIFIED, 1),
    "qr": (lambda x: L.qr(x)[0], SINGULAR, UNVERIFIED, 1),
    "lu": (lambda x: L.lu(x)[1], SINGULAR, UNVERIFIED, 0),
}


@pytest.mark.parametrize(("function", "x", "verdict", "count"), OPEN.values(), ids=OPEN)
def test_what_equal_values_leave_open_is_counted_and_not_called_wrong(function, x, verdict, count):
    report = bptrain.check_gradients(function, x)
    assert report.ok, str(report)
    assert (report.verdict, report.kinks) == (verdict, count)


@pytest.mark.parametrize("function", [L.cholesky, L.inv, L.eigvalsh, L.svd, torch.matrix_exp], ids=lambda f: f.__name__)
def test_a_gradient_that_is_off_by_a_thousandth_is_found(function, monkeypatch):
    rule = rule_for(function)
    right = rule.backward
    monkeypatch.setattr(rule, "backward", staticmethod(lambda cache, dy: 1.001 * right(cache, dy)))
    assert not bptrain.check_gradients(function, positive(inputs(torch.float64)[0])).ok

"""The tensor functions that people write between modules come out verified, in float64 and in float32."""

import pytest
import torch
import torch.nn.functional as F

import bptrain
from bptrain.check.verdict import PROVED

COLUMNS = torch.tensor([[0, 2], [3, 1], [0, 3]])  # no place twice
TWICE = torch.tensor([[0, 0], [3, 1], [3, 3]])
MASK = torch.tensor([[True, False, True, False], [False, True, True, False], [True, False, False, True]])
ROWS = torch.tensor([2, 0])
ONE = """
    tan asin acos atan sinh cosh log2 log10 exp2 logit erfc erfinv sinc floor ceil round trunc fix frac sign abs
    absolute neg negative deg2rad rad2deg nan_to_num
""".split()
TWO = "hypot atan2 fmod remainder copysign xlogy".split()


def written(change):
    """What `change` makes of a copy of x that it writes to."""

    def f(x, z, v):
        y = x.clone()
        change(y, z, v)
        return y

    return f


# x (3, 4) lies in (0.1, 0.9), z (3, 4) and v (4) in (-2, 2).
FUNCTIONS = {
    # products
    "einsum": lambda x, z, v: torch.einsum("ij,kj,j->ik", x, z, v),
    "einsum, list": lambda x, z, v: torch.einsum("ij,...j", [x, z]),
    "einsum, numbers": lambda x, z, v: torch.einsum(x, [0, 1], z, [2, 1], [0, 2]),
    "einsum, diagonal": lambda x, z, v: torch.einsum("ii,ij->j", x @ z.T, z),
    "addmm": lambda x, z, v: torch.addmm(v, x @ z.T, x, beta=0.5, alpha=2) + (x @ z.T).addmm(x, z.T).sum(),
    "addmm_": written(lambda y, z, v: y.addmm_(z @ z.T, z)),
    "addmv": lambda x, z, v: torch.addmv(v[:3], x, v) + v[:3].clone().addmv_(z, v),
    "addr": lambda x, z, v: x.addr(v[:3], v),
    "baddbmm": lambda x, z, v: torch.baddbmm(v, x[None], z.T[None] @ x[None], alpha=0.5),
    "addbmm": lambda x, z, v: v.expand(3, 4).addbmm(x[None], z.T[None] @ x[None]),
    "dot, mv": lambda x, z, v: torch.dot(v, v) + v.dot(z[0]) + torch.mv(x, v) + z.mv(v) + v.vdot(z[1]),
    "outer, inner": lambda x, z, v: torch.outer(v, v).sum(0) + torch.inner(x, z).sum() + v.ger(v)[0] + v.inner(x)[0],
    "tensordot": lambda x, z, v: torch.tensordot(x, z, dims=([0], [0])) + torch.tensordot(v, v, 0),
    "kron": lambda x, z, v: torch.kron(x, z).sum(0) + v.kron(z)[1],
    "linalg.matmul": lambda x, z, v: torch.linalg.matmul(x, z.mT) + torch.linalg.vecdot(x, z),
    "multi_dot": lambda x, z, v: torch.linalg.multi_dot([x, z.T, x, v]),
    "cross": lambda x, z, v: torch.linalg.cross(x, z, dim=0) + torch.cross(x, z, dim=0) + x.cross(z, 0),
    # tensors joined and taken apart
    "hstack": lambda x, z, v: torch.hstack([x, z]).sum(1) + torch.hstack([v, v]).sum(),
    "vstack": lambda x, z, v: torch.vstack([x, v]) + torch.row_stack((v, z)),
    "dstack": lambda x, z, v: torch.dstack([x, z]) * torch.dstack([v, v]),
    "column_stack": lambda x, z, v: torch.column_stack([x, v[:3]]),
    "block_diag": lambda x, z, v: torch.block_diag(x, v, z),
    "meshgrid": lambda x, z, v: torch.stack(torch.meshgrid(v, x[0], indexing="xy")),
    "cartesian_prod": lambda x, z, v: torch.cartesian_prod(v, x[0]),
    "broadcast": lambda x, z, v: torch.stack(torch.broadcast_tensors(x, v)) + v.broadcast_to(3, 4) + v.expand_as(x),
    "splits": lambda x, z, v: (
        x.split_with_sizes([1, 2])[1][:, :2]
        + x.tensor_split((1, 3), 1)[1][1]
        + x.hsplit(2)[0][0]
        + z.vsplit(3)[0][:, :2]
    ),
    "atleast": lambda x, z, v: torch.atleast_2d(v) + torch.atleast_3d(x) + torch.atleast_1d(v.sum()),
    # elements picked
    "tile": lambda x, z, v: torch.tile(x, (2, 1)).sum(0) + v.tile(2)[4:] + x.ravel()[:4],
    "diagonals": lambda x, z, v: (
        x.diagonal(1)
        + torch.linalg.diagonal(z)
        + torch.diag(x)
        + torch.diag(v)[0, :3]
        + v.diag_embed()[1, 1:]
        + x.trace()
    ),
    "diagflat": lambda x, z, v: v.diagflat(1).sum(0)[1:] + v,
    "triangles": lambda x, z, v: x.tril() + x.triu(1) * z,
    "turned": lambda x, z, v: torch.rot90(x) + x.fliplr().rot90(-1) + x.flipud().rot90(3),
    "unfold": lambda x, z, v: x.unfold(1, 3, 1) * v.unfold(0, 3, 1),
    "take": lambda x, z, v: torch.take(x, torch.tensor([0, 5, 5])) + x.take_along_dim(ROWS[None, :1], 1).squeeze(),
    "masked_select": lambda x, z, v: x.masked_select(MASK),
    "views": lambda x, z, v: (
        z * x.view_as(z)
        + x.narrow_copy(0, 0, 1)
        + x.swapdims(0, 1).T
        + x[None, :, None].squeeze((0, 2))
        + x.unflatten(1, (2, 2)).flatten(1)
    ),
    "sum_to_size": lambda x, z, v: x.sum_to_size(1, 4) + v.type(v.dtype) + v.cpu(),
    # elements written
    "scatter": lambda x, z, v: x.scatter(1, COLUMNS, z[:, :2]) + torch.scatter(z, 1, TWICE, 0.5),
    "scatter_": written(lambda y, z, v: y.scatter_(1, COLUMNS, z[:, :2])),
    "scatter_add": lambda x, z, v: x.scatter_add(1, TWICE, z[:, :2]),
    "scatter_reduce": lambda x, z, v: sum(
        x.scatter_reduce(1, TWICE, z[:, :2], how) for how in ("sum", "prod", "mean", "amax", "amin")
    ),
    "scatter_reduce without x": lambda x, z, v: sum(
        x.scatter_reduce(1, TWICE, z[:, :2], how, include_self=False) for how in ("sum", "prod", "mean", "amax", "amin")
    ),
    "index_add": lambda x, z, v: x.index_add(0, ROWS, z[:2], alpha=0.5) + x.clone().index_add_(0, ROWS, z[:2]),
    "index_copy": lambda x, z, v: x.index_copy(0, ROWS, z[:2]) + x.clone().index_copy_(0, ROWS, z[:2]),
    "index_fill": lambda x, z, v: x.index_fill(0, ROWS, 0.5) + x.index_fill(1, ROWS, v.sum()),
    "index_put": lambda x, z, v: x.index_put((ROWS,), z[:2]) + x.clone().index_put_((ROWS,), z[:2], accumulate=True),
    "put": lambda x, z, v: x.put(ROWS, v[:2]) + x.clone().put_(ROWS, v[:2], accumulate=True),
    "masked_scatter": lambda x, z, v: x.masked_scatter(MASK, z) + x.clone().masked_fill_(MASK, 0.0),
    "select_scatter": lambda x, z, v: x.select_scatter(v, 0, 1) + x.slice_scatter(z[:2], 0, 1),
    "diagonal_scatter": lambda x, z, v: x.diagonal_scatter(v[:3]),
    "fill_, zero_, copy_": lambda x, z, v: x.clone().fill_(v.sum()) + x.clone().zero_() + x.clone().copy_(v),
    # order
    "sort": lambda x, z, v: x.sort(1, descending=True).values * v + torch.msort(z) + x[:, v.argsort()] * v,
    "topk": lambda x, z, v: x.topk(2).values + torch.topk(z, 2, 0, False)[0].sum(0)[:2],
    "ranks": lambda x, z, v: x.kthvalue(2, 1)[0] + z.median(1).values + x.median() + x.mode(1)[0] + v.quantile(0.3),
    "ties": lambda x, z, v: (
        sum(f(torch.relu(z), 1)[0].sum() for f in (torch.sort, torch.median, torch.mode, torch.cummax, torch.cummin))
        + torch.relu(z).topk(3, 1)[0].sum()
    ),
    "scans": lambda x, z, v: (
        x.cummax(1)[0]
        + z.cummin(0)[0]
        + x.cumprod(1)
        + z.logcumsumexp(1)
        + x.clone().cumsum_(0)
        + x.clone().cumprod_(1)
    ),
    "diff": lambda x, z, v: x.diff(append=z),
    "reductions": lambda x, z, v: x.nansum(1) + z.nanmean(1) + torch.aminmax(z, dim=1).max + x.norm(p=0) + x.norm(p=3),
    "bucketize": lambda x, z, v: v[torch.bucketize(x, torch.tensor([0.3, 0.6]))] + x,
    # element by element
    "circle": lambda x, z, v: torch.tan(x) + x.asin() + x.acos() + torch.arctan(z) + torch.atan2(z, v) + z.sinc(),
    "hyperbola": lambda x, z, v: torch.sinh(z) + z.cosh() + z.asinh() + (1 + x).acosh() + x.atanh() + z.tanh(),
    "logarithms": lambda x, z, v: x.log2() + x.log10() + z.exp2() + x.logit() + torch.special.logit(x, 0.3),
    "logaddexp": lambda x, z, v: torch.logaddexp(z, v) + torch.logaddexp2(z, v),
    "xlogy": lambda x, z, v: torch.xlogy(z, x) + torch.special.xlog1py(v, x) + z.xlogy(x),
    "errors": lambda x, z, v: torch.erfc(z) + torch.erfinv(x) + torch.special.ndtr(z),
    "steps": lambda x, z, v: x * z.floor() + x * z.ceil() + x * z.round() + x * z.trunc() + z.frac() + x * z.sign(),
    "steps alone": lambda x, z, v: x.floor() + x.round(decimals=1) + z.sign(),
    "remainders": lambda x, z, v: z % x + z.fmod(x) + torch.remainder(z, 0.7) + torch.fmod(z, 0.7),
    "mixtures": lambda x, z, v: torch.lerp(x, z, 0.3) + x.lerp(z, v) + torch.hypot(x, z) + x.copysign(z),
    "sums of products": lambda x, z, v: torch.addcmul(x, z, v, value=0.5) + torch.addcdiv(z, v, x, value=2),
    "quotients": lambda x, z, v: torch.true_divide(z, x) + torch.rsub(x, z, alpha=2) + z.float_power(3),
    "aliases": lambda x, z, v: (
        torch.special.expit(z) + torch.special.softmax(z, 1) + torch.clip(z, -1, 1) + torch.absolute(z) + z.negative()
    ),
    "degrees": lambda x, z, v: torch.deg2rad(z) + torch.rad2deg(x) + torch.nan_to_num(z),
    "gumbel_softmax": lambda x, z, v: F.gumbel_softmax(z, tau=0.7) + F.gumbel_softmax(z, hard=True),
    # in place
    "in place, one tensor": lambda x, z, v: sum(getattr(x.clone(), f"{name}_")() for name in ONE),
    "in place, two tensors": lambda x, z, v: sum(getattr(x.clone(), f"{name}_")(z.abs() + 0.1) for name in TWO),
    "in place, three tensors": lambda x, z, v: (
        x.clone().lerp_(z, 0.3) + x.clone().addcmul_(z, v) + z.clone().addcdiv_(v, x)
    ),
    "one after the other": written(lambda y, z, v: y.sin_().mul_(z).fmod_(0.7).clip_(-0.5, 0.5)),
}


def inputs(dtype):
    generator = torch.Generator().manual_seed(0)
    x, z, v = (torch.rand(shape, generator=generator, dtype=torch.float64) for shape in ((3, 4), (3, 4), (4,)))
    return tuple(t.to(dtype) for t in (0.1 + 0.8 * x, 4 * z - 2, 4 * v - 2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_between_modules_is_verified(name, dtype):
    report = bptrain.check_gradients(FUNCTIONS[name], inputs(dtype))
    assert report.calls, "nothing was recorded"
    assert report.verdict in PROVED, str(report)  # a hard gumbel_softmax is straight through

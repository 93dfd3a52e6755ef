"""Kinks and ties are counted by every rule that has one, exactly, and compared by torch's convention."""

import pytest
import torch
import torch.nn.functional as F

import bptrain

ROW = [0.0, -3.0, 1.0, 0.0, 3.0]
X = torch.tensor(ROW, dtype=torch.float64)
OTHER = torch.tensor([0.0, 2.0, 1.0, 0.5, 3.0], dtype=torch.float64)
ONE = torch.ones(5, dtype=torch.float64)
EXACT = torch.nn.PairwiseDistance(eps=0.0)
BAGS = torch.tensor([[0, 1], [0, 0], [1, 2]])

ON_X = {
    "elu": (lambda x: F.elu(x, 0.7), 2),
    "elu without kink": (F.elu, 0),
    "selu": (F.selu, 2),
    "celu": (lambda x: F.celu(x, 0.7), 0),
    "relu6": (F.relu6, 2),
    "hardsigmoid": (F.hardsigmoid, 2),
    "hardswish": (F.hardswish, 2),
    "hardshrink": (lambda x: F.hardshrink(x, 1.0), 1),
    "softshrink": (lambda x: F.softshrink(x, 3.0), 2),
    "softplus": (lambda x: F.softplus(x, 2.0, 6.0), 1),
    "prelu": (lambda x: F.prelu(x, 0.1 * ONE[:1]), 2),
    "rrelu": (F.rrelu, 2),
    "clamp_min": (lambda x: x.clamp_min(1.0), 1),
    "clamp_max": (lambda x: x.clamp_max(0.0), 2),
    "copysign": (lambda x: torch.copysign(x, OTHER), 2),
    "maximum": (lambda x: torch.maximum(x, OTHER), 3),
    "max of two": (lambda x: torch.max(x, OTHER), 3),
    "min of two": (lambda x: torch.min(x, other=OTHER), 3),
    "max, all": (lambda x: torch.max(-x.abs()), 2 + 2),  # and the two of abs
    "min along an axis": (lambda x: x.abs().min(0)[0], 2 + 2),
    "aminmax": (lambda x: torch.aminmax(x * x).max, 4),
    "norm 1": (lambda x: x.norm(1), 2),
    "norm 2": (lambda x: x.norm(2), 0),
    "norm 2 of zero": (lambda x: torch.linalg.vector_norm(x[:, None], dim=1), 2),
    "norm 0": (lambda x: x.norm(0), 0),
    "largest": (lambda x: torch.linalg.norm(x, torch.inf), 1),
    "normalize": (lambda x: F.normalize(x, 1.0, 0), 2),
    "shorter than eps": (lambda x: F.normalize(x[:, None], 2.0, 1), 0),
    "as long as eps": (lambda x: F.normalize(x[:, None], 2.0, 1, 3.0), 2),
    "cosine of eps": (lambda x: F.cosine_similarity(x[:, None], ONE[:, None], eps=1.0), 1 + 5),
    "std of equals": (lambda x: x[[0, 3]].std(), 1),
    "std and mean": (lambda x: torch.std_mean(x[:, None], 1, correction=0), 5),
    "sort": (lambda x: x.sort()[0], 2),
    "msort": (torch.msort, 2),
    "topk, tie inside": (lambda x: x.topk(4)[0], 2),
    "topk, tie cut": (lambda x: x.topk(3)[0], 1),
    "topk, no tie": (lambda x: x.topk(2)[0], 0),
    "kthvalue": (lambda x: x.kthvalue(3)[0], 1),
    "kthvalue alone": (lambda x: x.kthvalue(5)[0], 0),
    "median": (lambda x: x.median(0)[0], 1),
    "median of all": (torch.median, 1),
    "mode": (lambda x: x.mode()[0], 1),
    "quantile": (lambda x: x.quantile(ONE[:2] * torch.tensor([0.5, 1.0])), 1),
    "cummax": (lambda x: x.cummax(0)[0], 0),
    "cummax, met again": (lambda x: x[[0, 1, 3, 1]].cummax(0)[0], 2),
    "cummin": (lambda x: x.cummin(0)[0], 0),
    "cummin, all equal": (lambda x: (0 * x).cummin(0)[0], 4),
    "lp_pool": (lambda x: F.lp_pool1d(x[None, None], 1.0, 1), 2),
    "lp_pool, largest": (lambda x: F.lp_pool1d(x[None, None, :4], torch.inf, 2), 0),
    "adaptive_max_pool": (lambda x: F.adaptive_max_pool1d(x.abs()[None, None], 1), 2 + 1),  # and the two of abs
    "max_pool in padding": (lambda x: F.max_pool1d(x[None, None], 3, 3, 1), 0),
    "smooth_l1": (lambda x: F.smooth_l1_loss(x, OTHER, beta=0.0), 3),
    "smooth_l1, smooth": (lambda x: F.smooth_l1_loss(x, OTHER), 0),
    "hinge": (lambda x: F.hinge_embedding_loss(x, -ONE, reduction="sum"), 1),
    "hinge, other side": (lambda x: F.hinge_embedding_loss(x, ONE), 0),
    "ranking": (lambda x: F.margin_ranking_loss(x, 0 * ONE, ONE, 1.0), 1),
    "multi_margin": (lambda x: F.multi_margin_loss(x, torch.tensor(2), reduction="sum"), 2),
    "multi_margin, squared": (lambda x: F.multi_margin_loss(x, torch.tensor(2), 2), 0),
    "multilabel_margin": (lambda x: F.multilabel_margin_loss(x, torch.tensor([2, -1, 0, 0, 0])), 2),
    "poisson": (lambda x: F.poisson_nll_loss(x, OTHER + 0.5, full=True), 1),
    "cosine_embedding": (lambda x: F.cosine_embedding_loss(x[:, None], 0 * x[:, None], -ONE), 5),
    "cdist": (lambda x: torch.cdist(x[:, None], x[:, None]), 7),
    "cdist 1": (lambda x: torch.cdist(x[:, None], x[:, None], 1.0), 7),
    "pdist": (lambda x: F.pdist(x[:, None]), 1),
    "pairwise": (lambda x: F.pairwise_distance(x[:, None], OTHER[:, None], eps=0.0), 3),
    "scatter_reduce": (lambda x: x.scatter_reduce(0, torch.tensor([0, 0, 2]), OTHER[:3] * 0.5, "amin"), 1),
    "embedding_bag": (
        lambda x: F.embedding_bag(BAGS, x[:4].reshape(2, 2)[[0, 0, 1]] * 1.0, mode="max"),
        2,
    ),  # a row is no other one
}


@pytest.mark.parametrize(("function", "count"), ON_X.values(), ids=ON_X)
def test_every_rule_counts_its_kinks(function, count):
    report = bptrain.check_gradients(function, X)
    assert report.ok, str(report)
    assert report.kinks == count


# Places where the slope is infinite, or where the second argument decides.
AT = {
    "sqrt": (torch.sqrt, [0.0, 1.0], 1),
    "asin": (torch.asin, [-1.0, 0.5], 1),
    "acosh": (torch.acosh, [1.0, 1.5], 1),
    "root": (lambda x: x**0.5, [0.0, 1.0], 1),
    "square": (lambda x: x**2, [0.0, 1.0], 0),
    "power of zero": (lambda x: 0.0**x, [0.0, 1.0], 1),
    "float_power": (lambda x: torch.float_power(x, 0.5), [0.0, 1.0], 1),
    "acos": (torch.acos, [-1.0, 0.5], 1),
    "atan2": (lambda x: torch.atan2(x, 0 * x), [0.0, 1.0], 1),
    "hypot": (lambda x: torch.hypot(x, 0 * x), [0.0, 1.0], 1),
    "angle": (lambda x: torch.angle(torch.complex(x, x)), [0.0, 1.0], 1),
    "xlogy": (lambda x: torch.xlogy(x, 0 * x), [0.0], 1),
    "xlog1py": (lambda x: torch.special.xlog1py(x, 0 * x - 1), [0.0], 1),
    "logit": (lambda x: torch.logit(x, 0.25), [0.25, 0.5, 0.75, 0.8], 2),
    "variance of eps": (lambda x: F.gaussian_nll_loss(x.detach() * 2, x.detach(), x, eps=0.5), [0.5, 1.0], 1),
}


@pytest.mark.parametrize(("function", "x", "count"), AT.values(), ids=AT)
def test_ends_of_a_domain_are_counted(function, x, count):
    assert bptrain.check_gradients(function, torch.tensor(x, dtype=torch.float64)).kinks == count


def test_losses_of_distances_count_the_hinge_and_the_ties_of_a_swap():
    line = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    a, p, n = line.unbind()
    assert bptrain.check_gradients(lambda x: F.triplet_margin_loss(x, p, n, eps=0.0), a).kinks == 1  # 1 + 1 - 2 = 0
    assert bptrain.check_gradients(lambda x: F.triplet_margin_loss(x, p, n, 3.0, eps=0.0), a).kinks == 0
    assert bptrain.check_gradients(lambda x: F.triplet_margin_loss(x, a, n, 3.0, eps=0.0), a).kinks == 1  # |a - p| = 0
    # |a - n| = |p - n|: a tie of the swap, and |a - p| = 0
    assert bptrain.check_gradients(lambda x: F.triplet_margin_loss(x, a, n, 3.0, eps=0.0, swap=True), a).kinks == 2
    own = F.triplet_margin_with_distance_loss
    assert bptrain.check_gradients(lambda x: own(x, p, n, margin=0.5), a).kinks == 0
    assert bptrain.check_gradients(lambda x: own(x, p, n, distance_function=EXACT), a).kinks == 1

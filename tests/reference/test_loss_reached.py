"""The losses of torch.nn: every reduction and option is verified, in float64 and in float32."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bptrain import check_gradients
from bptrain.reference.rule import run_backward, run_forward
from bptrain.reference.rules.ctc_loss import CTCLoss
from bptrain.reference.rules.margin_loss import SoftMarginLoss
from bptrain.reference.rules.softmax import LogSoftmax

DTYPES = [torch.float64, torch.float32]
torch.manual_seed(0)
X, T, N, SIGNS = torch.randn(4, 3), torch.rand(4, 3) + 0.05, torch.randn(4, 3), torch.randn(4, 3).sign()
CLASSES, PAIRS, LABELS = torch.tensor([1, 0, 2, 2]), torch.tensor([1, -1, -1, 1]), torch.tensor([[1, 0, -1]] * 4)
W = torch.tensor([0.3, 1.7, 0.6])
LOSSES = {
    "l1": (nn.L1Loss, {}, (X, T)),
    "mse": (nn.MSELoss, {}, (X, T)),
    "smooth l1": (nn.SmoothL1Loss, {"beta": 0.3}, (X, T)),
    "huber": (nn.HuberLoss, {"delta": 0.3}, (X, T)),
    "bce": (nn.BCELoss, {"weight": W}, (T / 2, T / 2)),
    "bce with logits": (nn.BCEWithLogitsLoss, {"weight": W, "pos_weight": W + 1}, (X, T)),
    "cross entropy": (nn.CrossEntropyLoss, {"weight": W, "label_smoothing": 0.1, "ignore_index": 0}, (X, CLASSES)),
    "cross entropy, probabilities": (nn.CrossEntropyLoss, {}, (X, T)),
    "nll": (nn.NLLLoss, {"weight": W, "ignore_index": 0}, (X, CLASSES)),
    "nll of images": (nn.NLLLoss, {}, (torch.randn(4, 3, 1, 2), torch.randint(3, (4, 1, 2)))),
    "gaussian": (nn.GaussianNLLLoss, {"full": True}, (X, N, T)),
    "gaussian, one variance": (nn.GaussianNLLLoss, {"eps": 0.4}, (X, N, T[:, 0])),
    "poisson": (nn.PoissonNLLLoss, {}, (X, 3 * T)),
    "poisson, full, mean itself": (nn.PoissonNLLLoss, {"log_input": False, "full": True, "eps": 0.1}, (T, 3 * T)),
    "poisson of no event": (nn.PoissonNLLLoss, {"full": True}, (X, T.round())),
    "kl": (nn.KLDivLoss, {}, (X, T)),
    "kl, log target": (nn.KLDivLoss, {"log_target": True}, (X, N)),
    "kl of one class": (nn.KLDivLoss, {}, (X, torch.eye(4, 3))),
    "hinge": (nn.HingeEmbeddingLoss, {"margin": 0.4}, (X, SIGNS)),
    "cosine": (nn.CosineEmbeddingLoss, {"margin": -0.3}, (X, N, PAIRS)),
    "ranking": (nn.MarginRankingLoss, {"margin": 0.3}, (X, N, SIGNS)),
    "class margin": (nn.MultiMarginLoss, {"margin": 0.7, "weight": W}, (X, CLASSES)),
    "squared class margin": (nn.MultiMarginLoss, {"p": 2}, (X, CLASSES)),
    "label margin": (nn.MultiLabelMarginLoss, {}, (X, LABELS)),
    "soft label margin": (nn.MultiLabelSoftMarginLoss, {"weight": W}, (X, T)),
    "triplet": (nn.TripletMarginLoss, {"margin": 2.0, "p": 3, "swap": True}, (X, N, T)),
    "triplet, distance": (nn.TripletMarginWithDistanceLoss, {"swap": True, "margin": 2.0}, (X, N, T)),
}


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # of KLDivLoss, which is one of those to check
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_verified(name, reduction, dtype):
    kind, options, arguments = LOSSES[name]
    given = tuple(x.to(dtype) if x.is_floating_point() else x for x in arguments)
    report = check_gradients(kind(reduction=reduction, **options).to(dtype), given)
    assert report.verdict in ("verified", "contract"), report
    assert report.coverage["calls"] == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mean_over_the_batch_of_a_divergence_is_verified(dtype):
    loss = nn.KLDivLoss(reduction="batchmean", log_target=True)
    assert check_gradients(loss, (X.to(dtype), N.to(dtype))).verdict == "verified"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_soft_margin_is_verified(reduction, dtype):
    loss = nn.SoftMarginLoss(reduction=reduction)  # torch refuses a gradient of its target
    report = check_gradients(lambda x: loss(x, SIGNS.to(dtype)), X.to(dtype))
    assert report.verdict in ("verified", "contract"), report


def test_the_reference_of_a_soft_margin_does_not_overflow():
    x, t = torch.tensor([-800.0]), torch.tensor([1.0])
    y, cache = run_forward(SoftMarginLoss, {"input": x, "target": t})
    assert y.item() == 800
    assert run_backward(SoftMarginLoss, cache, torch.tensor(1.0))["input"].item() == -1


def test_a_distance_of_the_users_own_is_checked_by_differences():
    loss = nn.TripletMarginWithDistanceLoss(distance_function=lambda a, b: (a - b).abs().sum(-1))
    report = check_gradients(loss, (X, N, T))
    assert report.verdict == "numerical"
    assert "distance function" in report.calls[0].arbiter


LENGTHS = torch.tensor([6, 5, 4]), torch.tensor([3, 2, 0])
TARGETS = torch.tensor([[1, 1, 3], [2, 3, 0], [0, 0, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("targets", [TARGETS, torch.tensor([1, 1, 3, 2, 3])])
def test_temporal_classification_is_verified(targets, reduction, dtype):
    torch.manual_seed(0)
    loss = nn.CTCLoss(reduction=reduction)
    report = check_gradients(lambda x: loss(x.log_softmax(-1), targets, *LENGTHS), torch.randn(6, 3, 4, dtype=dtype))
    assert report.verdict in ("verified", "contract"), report
    assert report.coverage["calls"] == 1.0


@pytest.mark.parametrize("zero_infinity", [True, False])
def test_a_target_that_no_path_spells_has_the_gradient_of_torch(zero_infinity):
    log_p = torch.randn(6, 3, 4, dtype=torch.float64).log_softmax(-1).requires_grad_()
    call = {"targets": TARGETS, "input_lengths": torch.tensor([2, 5, 0]), "target_lengths": torch.tensor([3, 2, 0])}
    options = {"reduction": "sum", "zero_infinity": zero_infinity}
    F.ctc_loss(log_p, **call, **options).backward()
    y, cache = run_forward(CTCLoss, {"log_probs": log_p.detach(), **call, **options})
    ours = run_backward(CTCLoss, cache, torch.ones_like(y))["log_probs"]
    torch.testing.assert_close(ours, log_p.grad, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("zero_infinity", [True, False])
def test_a_target_that_no_path_spells_is_no_fault(zero_infinity, dtype):
    torch.manual_seed(0)
    loss, short = nn.CTCLoss(blank=3, zero_infinity=zero_infinity), torch.tensor([2, 5, 4])
    report = check_gradients(
        lambda x: loss(x.log_softmax(-1), TARGETS % 3, short, LENGTHS[1]), torch.randn(6, 3, 4, dtype=dtype)
    )
    assert report.culprits == []
    assert not zero_infinity or report.verdict in ("verified", "contract")


def test_the_contract_of_temporal_classification_is_the_derivative_by_what_is_before_the_softmax():
    torch.manual_seed(0)
    x, direction, h = torch.randn(6, 3, 4, dtype=torch.float64), torch.randn(6, 3, 4, dtype=torch.float64), 1e-5

    def forward(x):
        log_p, normalized = run_forward(LogSoftmax, {"input": x, "dim": -1})
        names = ("log_probs", "targets", "input_lengths", "target_lengths")
        return *run_forward(CTCLoss, dict(zip(names, (log_p, TARGETS, *LENGTHS), strict=True))), normalized

    y, cache, normalized = forward(x)
    dlog_p = run_backward(CTCLoss, cache, torch.ones_like(y))["log_probs"]
    dx = run_backward(LogSoftmax, normalized, dlog_p)["input"]
    slope = (forward(x + h * direction)[0] - forward(x - h * direction)[0]) / (2 * h)
    torch.testing.assert_close((dx * direction).sum(), slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", [torch.tensor([1, 0, 3, 6]), torch.tensor(6)])
def test_an_adaptive_softmax_is_verified(target, dtype):
    torch.manual_seed(0)
    model = nn.AdaptiveLogSoftmaxWithLoss(3, 7, [2, 4], div_value=1.5, head_bias=True, dtype=dtype)
    x = X.to(dtype) if target.dim() else X[0].to(dtype)
    report = check_gradients(model, (x, target))
    assert report.verdict == "verified", report


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_log_probabilities_of_an_adaptive_softmax_are_verified(dtype):
    torch.manual_seed(0)
    model = nn.AdaptiveLogSoftmaxWithLoss(3, 7, [2, 4], div_value=1.5, dtype=dtype)
    assert check_gradients(model.log_prob, X.to(dtype)).verdict == "verified"

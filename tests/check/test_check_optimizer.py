"""check_optimizer on torch's optimizers, and on faults planted in optimizers that derive from them."""

import copy
import inspect
import json
import math

import pytest
import torch
from torch.nn import Parameter

import bptrain
from bptrain.errors import GradientsWrong
from bptrain.reference.update import all_updates

EXPORTED = [c for update in all_updates() for c in update.optimizers if c.__module__.startswith("torch.")]


def weights(*shapes, dtype=torch.float32):
    torch.manual_seed(0)
    return [Parameter(torch.randn(shape, dtype=torch.float64).to(dtype)) for shape in shapes]


def faulty(base, change):
    """A class that derives from `base` and takes its steps by `change(w, g, state, group)`, in place."""

    class Faulty(base):
        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        change(p, p.grad, self.state[p], group)

    return Faulty


def moments(p, g, state, group):
    """t, m and v of Adam, kept in the state."""
    if not state:
        state.update(step=torch.tensor(0.0), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
    (beta1, beta2), m, v = group["betas"], state["exp_avg"], state["exp_avg_sq"]
    state["step"] += 1
    m.mul_(beta1).add_(g, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    return state["step"].item(), m, v


def uncorrected(p, g, state, group):
    _, m, v = moments(p, g, state, group)
    p -= group["lr"] * m / (v.sqrt() + group["eps"])


def eps_inside(p, g, state, group):
    t, m, v = moments(p, g, state, group)
    (beta1, beta2) = group["betas"]
    p -= group["lr"] / (1 - beta1**t) * m / (v / (1 - beta2**t) + group["eps"]).sqrt()


def corrected_otherwise(p, g, state, group):
    """Adam as at the end of section 2 of its paper, eps scaled to match: right, but for rounding."""
    t, m, v = moments(p, g, state, group)
    (beta1, beta2) = group["betas"]
    p.mul_(1 - group["lr"] * group["weight_decay"])
    root = (1 - beta2**t) ** 0.5
    p -= group["lr"] * root / (1 - beta1**t) * (m / (v.sqrt() + group["eps"] * root))


def coupled(p, g, state, group):
    corrected_otherwise(p, g + group["weight_decay"] * p, state, {**group, "weight_decay": 0.0})


def late(p, g, state, group):
    corrected_otherwise(p, g, state, group)
    if state["step"] == 4:
        p += 1e-9


def slack_squares(p, g, state, group):
    """The mean square decays a little too fast, and the step does not show it."""
    corrected_otherwise(p, g, state, group)
    state["exp_avg_sq"] *= 1 - 1e-6


def forgetful(p, g, state, group):
    state["momentum_buffer"] = g.clone()
    p -= group["lr"] * g


def buffered(p, g, state, group):
    old = state.get("momentum_buffer")
    state["momentum_buffer"] = b = g.clone() if old is None else group["momentum"] * old + g
    return b


def doubled(p, g, state, group):
    p -= 2 * group["lr"] * buffered(p, g, state, group)


def short(p, g, state, group):
    """A kernel that is off by 0.1 % in float32 only."""
    p -= group["lr"] * (1.001 if p.dtype is torch.float32 else 1.0) * buffered(p, g, state, group)


def one_row(p, g, state, group):
    step = group["lr"] * buffered(p, g, state, group)
    p[1:] -= step[1:]


def unnamed(p, g, state, group):
    p -= group["lr"] * g


@pytest.mark.parametrize(
    ("base", "change", "options", "entry", "step", "words"),
    [
        (torch.optim.Adam, uncorrected, {}, "parameter", 1, "3.16 times"),
        (torch.optim.Adam, eps_inside, {}, "parameter", 1, ""),
        (torch.optim.AdamW, coupled, {"weight_decay": 0.1}, "parameter", 1, "decoupled_weight_decay were False"),
        (torch.optim.AdamW, late, {}, "parameter", 4, ""),
        (torch.optim.AdamW, slack_squares, {}, "exp_avg_sq", 1, ""),
        (torch.optim.SGD, forgetful, {"momentum": 0.9}, "parameter", 2, "momentum were 0"),
        (torch.optim.SGD, doubled, {"momentum": 0.9}, "parameter", 1, "2 times"),
        (torch.optim.SGD, short, {"lr": 0.01, "momentum": 0.9}, "parameter", 1, ""),
        (torch.optim.SGD, one_row, {"momentum": 0.9}, "parameter", 1, ""),
        (torch.optim.SGD, unnamed, {"momentum": 0.9}, "momentum_buffer", 1, "there is none"),
    ],
)
def test_wrong_update_is_named(base, change, options, entry, step, words):
    named = list(zip("ab", weights((4, 3), (5,)), strict=True))
    report = bptrain.check_optimizer(faulty(base, change)([p for _, p in named], **options), named)
    assert not report.ok
    assert report.verdict == "wrong"
    found = {(e.parameter, e.entry): e for e in report.culprits}
    assert {name for name, _ in found} == {"a", "b"}
    assert found["a", entry].step == step
    assert words in found["a", entry].fault
    with pytest.raises(GradientsWrong, match="of a at step"):
        report.raise_if_wrong()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_another_way_to_compute_the_right_update_is_verified(dtype):
    own = faulty(torch.optim.AdamW, corrected_otherwise)(weights((4, 3), (5,), dtype=dtype))
    report = bptrain.check_optimizer(own)
    assert report.verdict == "verified", report
    assert len(report.entries) == 2 * 4
    assert max(report.ulps.values()) < 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("optimizer", EXPORTED, ids=lambda c: c.__name__)
def test_optimizers_of_torch_are_verified(optimizer, dtype):
    report = bptrain.check_optimizer(optimizer(weights((4, 3), (2, 5), dtype=dtype), lr=0.02), steps=4)
    assert report.verdict == "verified", report


@pytest.mark.parametrize("optimizer", EXPORTED, ids=lambda c: c.__name__)
def test_the_check_starts_from_the_state_of_now_and_changes_nothing(optimizer):
    parameters = weights((4, 3), (2, 5))
    made = optimizer([{"params": parameters[:1]}, {"params": parameters[1:]}][: 2 - (optimizer is torch.optim.LBFGS)])
    sparse = optimizer is torch.optim.SparseAdam
    scheduler = torch.optim.lr_scheduler.StepLR(made, 1)
    calls = []
    made.register_step_post_hook(lambda *_: calls.append(1))
    for _ in range(3):
        for p in parameters:
            p.grad = torch.randn(p.shape).to_sparse(1) if sparse else torch.randn(p.shape)
        made.step(lambda: 1.0)
        scheduler.step()
    grads = [p.grad for p in parameters]
    before = copy.deepcopy((parameters, made.state_dict(), torch.get_rng_state(), calls))
    report = bptrain.check_optimizer(made, steps=2)
    assert report.verdict == "verified", report
    after = (parameters, made.state_dict(), torch.get_rng_state(), calls)
    assert all(a is b for a, b in zip(grads, [p.grad for p in parameters], strict=True))
    for a, b in zip(*map(torch.utils._pytree.tree_leaves, (before, after)), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_the_state_that_is_there_is_what_is_checked():
    """A maximum that is too large already stays; only the step from it counts."""
    made = torch.optim.Adam(weights((4, 3)), amsgrad=True)
    made.param_groups[0]["params"][0].grad = torch.ones(4, 3)
    made.step()
    made.state[made.param_groups[0]["params"][0]]["max_exp_avg_sq"].fill_(5.0)
    assert bptrain.check_optimizer(made).verdict == "verified"


def test_a_kernel_off_by_less_than_the_rounding_of_an_element_is_found():
    """0.1 % of steps of 1e-3 is less than what rounding does to weights of 1, but it is in all elements."""
    made = faulty(torch.optim.SGD, short)([Parameter(torch.full((40, 30), 5.0))], momentum=0.9)
    (culprit,) = bptrain.check_optimizer(made, steps=1).culprits
    assert culprit.ulps < culprit.explained
    assert culprit.bias == pytest.approx(1e-3, rel=0.1)
    assert culprit.dtype == "float32"


def test_the_seed_decides():
    made = torch.optim.Adam(weights((4, 3)))
    first, again, other = (bptrain.check_optimizer(made, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_each_group_has_its_options():
    def first_rate(p, g, state, group):
        p -= rates[0] * g

    rates = [0.1, 0.2]
    groups = [{"params": [p], "lr": rate} for p, rate in zip(weights((4, 3), (5,)), rates, strict=True)]
    report = bptrain.check_optimizer(faulty(torch.optim.SGD, first_rate)(groups))
    assert {e.parameter for e in report.culprits} == {"group 1, parameter 0"}
    assert "0.5 times" in report.culprits[0].fault


def test_a_parameter_without_a_gradient_must_stay():
    def restless(self):
        torch.optim.SGD.step(self)
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p -= 0.01 if p.grad is None else 0.0

    made = type("Restless", (torch.optim.SGD,), {"step": restless})(weights((4, 3), (5,)))
    (culprit,) = bptrain.check_optimizer(made).culprits
    assert (culprit.parameter, culprit.step) == ("group 0, parameter 1", 3)
    assert bptrain.check_optimizer(made, steps=2).ok


def test_names_are_those_of_the_optimizer_or_the_model():
    named = list(zip(["weight", "bias"], weights((4, 3), (5,)), strict=True))
    assert list(bptrain.check_optimizer(torch.optim.SGD(named)).ulps) == ["weight", "bias"]
    assert list(bptrain.check_optimizer(torch.optim.SGD([p for _, p in named]), named).ulps) == ["weight", "bias"]


def test_what_no_update_explains_is_unverified():
    class Other(torch.optim.Optimizer):
        pass

    report = bptrain.check_optimizer(Other(weights((3,)), {"lr": 0.1}))
    assert report.verdict == "unverified"
    assert report.ok
    assert "no update is written for Other" in str(report)

    class More(torch.optim.SGD):
        def __init__(self, parameters):
            super().__init__(parameters)
            self.defaults["lookahead"] = 5

    assert "with lookahead" in bptrain.check_optimizer(More(weights((3,)))).summary()
    assert "complex" in bptrain.check_optimizer(torch.optim.SGD([Parameter(torch.ones(2) * 1j)])).summary()


def test_a_report_is_a_table_and_plain_data():
    report = bptrain.check_optimizer(faulty(torch.optim.SGD, unnamed)(weights((4, 3)), momentum=0.9))
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert plain["verdict"] == "wrong"
    assert {e["entry"]: e["ulps"] for e in plain["entries"]}["momentum_buffer"] is None
    assert math.isinf(report.culprits[0].ulps)
    assert str(report).splitlines()[0].split() == "verdict parameter entry step ULPs of bias of dtype fault".split()
    right = bptrain.check_optimizer(torch.optim.SGD(weights((4, 3))))
    assert "verified: 1 of 1 entries over 5 steps" in right.summary()


def test_a_fused_kernel_that_skips_elements_is_found():
    """torch 2.12 and 2.13 leave full vectors of half-precision parameters as they are (pytorch issue 191763)."""
    (p,) = weights((64,), dtype=torch.bfloat16)
    old, made = p.detach().clone(), torch.optim.SGD([p], lr=0.1, fused=True)
    report = bptrain.check_optimizer(made)
    p.grad = torch.ones_like(p)
    made.step()
    assert report.ok is not torch.equal(p, old)
    if not report.ok:
        assert report.culprits[0].dtype == "bfloat16"
        assert report.culprits[0].fault == "most of it did not change"


def test_a_buffer_that_is_overwritten_is_found():
    """torch up to 2.13 normalises the momentum buffer of bfloat16 in place (pytorch pull request 194664)."""
    (p,) = weights((4, 3), dtype=torch.bfloat16)
    made = torch.optim.Muon([p], momentum=0.5, nesterov=False)
    report = bptrain.check_optimizer(made)
    p.grad = torch.full_like(p, 2.0)
    made.step()
    kept = torch.equal(made.state[p]["momentum_buffer"], torch.ones_like(p))
    assert report.ok is kept
    if not kept:
        assert report.culprits[0].entry == "momentum_buffer"


def test_options_of_torch_that_say_how_change_nothing():
    for optimizer in EXPORTED:
        for way in ("foreach", "fused"):
            if way in inspect.signature(optimizer).parameters:
                report = bptrain.check_optimizer(optimizer(weights((4, 3)), **{way: True}), steps=2)
                assert report.verdict == "verified", report

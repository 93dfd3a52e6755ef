"""Every update on each of its cases against torch.optim, in float64 to 1e-12 and in float32 in ULPs."""

import inspect

import pytest
import torch
from torch.nn import Parameter

from bptrain.check.ulp import ulp
from bptrain.check.update import advance, slots
from bptrain.reference.optimizers.lbfgs import LBFGS
from bptrain.reference.update import IMPLEMENTATION, Update, all_updates, option_names, run_step, update_for

STEPS = 6
EXPORTED = [
    c for c in vars(torch.optim).values() if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer)
    and c is not torch.optim.Optimizer
]  # fmt: skip


def cases():
    for update in all_updates():
        found = list(update.cases())
        assert found, f"{update.__name__} has no cases"
        for optimizer in () if update.closure else update.optimizers:
            names = inspect.signature(optimizer).parameters
            ways = [{way: True} for way in ("foreach", "fused") if way in names]
            for case in found:
                known = {name: value for name, value in case.items() if name in names}  # AdamW is always decoupled
                for way in [{"foreach": False} if "foreach" in names else {}, *ways]:
                    options = {**known, **way}
                    yield pytest.param(optimizer, options, id=f"{optimizer.__name__}-{options}")


@pytest.fixture
def double():
    """torch's numbers in the state, as the eta of ASGD, have the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def made(optimizer, options, dtype):
    """The optimizer of four parameters in two groups of different rates, which have no gradient yet."""
    torch.manual_seed(0)
    shapes = [(3, 5), (4, 2), (1, 3), (2, 1)] if optimizer is torch.optim.Muon else [(3, 5), (7,), (), (2, 3, 17)]
    parameters = [Parameter(torch.randn(shape, dtype=torch.float64).to(dtype)) for shape in shapes]
    groups = [{"params": parameters[:3]}, {"params": parameters[3:], "lr": 0.7 * options["lr"]}]
    return optimizer(groups, **options), parameters


def pull(update, parameter, step):
    """A gradient of many sizes, with zeros; that of the last step but one is large, so that a maximum is felt."""
    size = 10 ** (-4 * torch.rand(parameter.shape, dtype=torch.float64)) * (30 if step == STEPS - 2 else 1)
    kept = torch.rand(parameter.shape) > 0.2
    g = (torch.randn(parameter.shape, dtype=torch.float64) * size * kept).to(parameter.dtype)
    return g.to_sparse(1) if update.sparse and g.dim() else g


def unpulled(update, index, step):
    """The second parameter gets no gradient at the third step; a number can't have a sparse one."""
    return (index == 1 and step == 2) or (index == 2 and update.sparse)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("optimizer", "options"), list(cases()))
def test_update_is_torchs_in_float64(optimizer, options):
    update = update_for(optimizer)
    made_, parameters = made(optimizer, options, torch.float64)
    ours = [((p.detach().clone(),), {}) for p in parameters]
    settings = [s.options for s in slots(made_, update, [["a", "b", "c"], ["d"]])]
    for step in range(STEPS):
        for i, p in enumerate(parameters):
            p.grad = None if unpulled(update, i, step) else pull(update, p, step)
            ours[i] = run_step(update, ours[i][0], p.grad, ours[i][1], settings[i])
        made_.step()
        for p, ((w,), state) in zip(parameters, ours, strict=True):
            torch.testing.assert_close(w, p.detach(), rtol=1e-12, atol=1e-14)
            for name, entry in state.items():
                theirs = torch.as_tensor(made_.state[p][name], dtype=torch.float64)
                torch.testing.assert_close(entry, theirs, rtol=1e-12, atol=1e-14, msg=name)
    assert all(w.dtype == torch.float64 for (w,), _ in ours), "the reference stays in the dtype it runs in"


@pytest.mark.parametrize(("optimizer", "options"), list(cases()))
def test_torchs_float32_is_the_update_to_a_few_ulps(optimizer, options):
    """From torch's own state at each step, so that errors do not add up."""
    update = update_for(optimizer)
    made_, parameters = made(optimizer, options, torch.float32)
    names = [["a", "b", "c"], ["d"]]
    for step in range(STEPS):
        before = slots(made_, update, names)
        for i, p in enumerate(parameters):
            p.grad = None if unpulled(update, i, step) else pull(update, p, step)
        made_.step()
        for p, old, new in zip(parameters, before, slots(made_, update, names), strict=True):
            exact = advance(update, old, p.grad).parameters[0]
            off = (new.parameters[0].double() - exact).abs()
            size = torch.maximum(exact.abs(), old.parameters[0].double().abs())
            worst = (off / ulp(size, torch.float32)).max().item()
            assert worst < 20, f"{worst} ULPs at step {step}"


class Rough:
    """f = sum of 0.02 x^2 - h cos(f x) over all elements + (0.1 sum of x)^2, with random heights and frequencies."""

    def __init__(self, shapes):
        self.heights = [torch.rand(shape) for shape in shapes]
        self.frequencies = [1 + 4 * torch.rand(shape) for shape in shapes]

    def __call__(self, parameters):
        total = 0.1 * sum(x.sum() for x in parameters)
        loss, gradients = total**2, []
        for x, h, f in zip(parameters, self.heights, self.frequencies, strict=True):
            loss = loss + (0.02 * x * x - h * (f * x).cos()).sum()
            gradients.append(0.04 * x + h * f * (f * x).sin() + 0.2 * total)
        return loss.item(), tuple(gradients)


SHAPES = [(3, 5), (7,), ()]
WOLFE = {"line_search_fn": "strong_wolfe", "max_iter": 2}
HARD = [
    *({"lr": lr, **WOLFE} for lr in (1e-3, 0.03, 1.0, 3.0, 10.0, 100.0)),
    *({"lr": lr, **WOLFE, "max_eval": n} for lr, n in ((10.0, 3), (10.0, 4), (1e-6, 3), (1e-3, 5), (1.0, 1))),
    {"lr": 1.0, **WOLFE, "max_iter": 5, "tolerance_grad": 0.3},
    {"lr": 0.1, "max_iter": 5, "tolerance_grad": 0.7, "tolerance_change": 0.0},
    {"lr": 0.1, "max_iter": 5, "tolerance_grad": 0.0, "tolerance_change": 0.1},
    {"lr": 1e-3, "max_iter": 5, "tolerance_grad": 0.0, "tolerance_change": 0.1},
    {"lr": 1.0, "max_iter": 5, "tolerance_grad": 0.0, "tolerance_change": 0.5},
    {"lr": 0.1, "max_iter": 5, "max_eval": 3},
    {"lr": 0.3, "max_iter": 4, "history_size": 2},
]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("options", HARD, ids=str)
def test_quasi_newton_steps_are_torchs(options):
    """From torch's own state at each step, few iterations each: on such functions they multiply rounding."""
    for seed in range(12):
        torch.manual_seed(seed)
        parameters = [Parameter(3 * torch.randn(shape)) for shape in SHAPES]
        made_ = torch.optim.LBFGS(parameters, **options)
        for objective in (Rough(SHAPES), *[Rough(SHAPES)] * 3):
            (slot,) = slots(made_, LBFGS, [["a", "b", "c"]])

            def closure(objective=objective, parameters=parameters):
                with torch.no_grad():
                    loss, gradients = objective(parameters)
                for p, gradient in zip(parameters, gradients, strict=True):
                    p.grad = gradient
                return loss

            made_.step(closure)
            ours, state = run_step(LBFGS, slot.parameters, objective, slot.state, slot.options)
            for w, p in zip(ours, parameters, strict=True):
                torch.testing.assert_close(w, p.detach(), rtol=1e-6, atol=1e-8)
            theirs = made_.state[parameters[0]]
            assert (state["func_evals"], state["n_iter"]) == (theirs["func_evals"], theirs["n_iter"])
            for name in ("old_dirs", "old_stps", "ro"):
                assert len(state[name]) == len(theirs[name]) <= options.get("history_size", 100)
                for a, b in zip(state[name], theirs[name], strict=True):
                    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_every_optimizer_of_torch_has_an_update_that_knows_its_options():
    assert len(EXPORTED) == 15
    for optimizer in EXPORTED:
        update = update_for(optimizer)
        assert update is not None, optimizer
        one = optimizer([Parameter(torch.zeros(2, 3))])
        assert option_names(update) == one.defaults.keys() - IMPLEMENTATION, optimizer


def test_every_option_is_tried_away_from_its_default():
    for update in all_updates():
        parameters = inspect.signature(update.optimizers[0]).parameters
        for name in (option_names(update) & parameters.keys()) - {"decoupled_weight_decay"}:
            values = [case[name] for case in update.cases() if name in case]
            assert any(value != parameters[name].default for value in values), (update.__name__, name)


@pytest.mark.parametrize("optimizer", EXPORTED, ids=lambda c: c.__name__)
def test_the_rate_may_be_a_tensor(optimizer):
    update = update_for(optimizer)
    (slot,) = slots(optimizer([Parameter(torch.ones(2, 3))], lr=torch.tensor(0.25)), update, [["w"]])
    assert slot.options["lr"] == 0.25
    assert isinstance(slot.options["lr"], float)


@pytest.fixture
def checked():
    """Where nobody says whether sparse tensors are checked, torch warns."""
    with torch.sparse.check_sparse_tensor_invariants(True):
        yield


@pytest.mark.usefixtures("double", "checked")
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adagrad])
def test_a_sparse_gradient_is_one_with_zeros(optimizer):
    update = update_for(optimizer)
    p = Parameter(torch.randn(4, 3))
    made_ = optimizer([p], lr=0.1)
    for _ in range(3):
        (slot,) = slots(made_, update, [["w"]])
        rows = torch.sparse_coo_tensor([[2, 0, 2]], torch.randn(3, 3), (4, 3))  # row 2 twice
        p.grad = rows
        made_.step()
        torch.testing.assert_close(advance(update, slot, rows).parameters[0], p.detach(), rtol=1e-12, atol=0)


@pytest.mark.usefixtures("double", "checked")
def test_rows_named_twice_count_once_in_sparse_adam():
    update = update_for(torch.optim.SparseAdam)
    p = Parameter(torch.randn(4, 3))
    made_ = torch.optim.SparseAdam([p], lr=0.1)
    for rows in ([2, 0, 2], [1, 2, 2], []):
        (slot,) = slots(made_, update, [["w"]])
        at = torch.tensor([rows]).long()  # (1, N)
        p.grad = torch.sparse_coo_tensor(at, torch.randn(len(rows), 3), (4, 3))
        old = p.detach().clone()
        made_.step()
        after = advance(update, slot, p.grad)
        torch.testing.assert_close(after.parameters[0], p.detach(), rtol=1e-12, atol=0)
        assert after.state["step"] == made_.state[p]["step"]
        assert torch.equal(after.parameters[0][3], old[3])


@pytest.mark.parametrize(
    "update", [u for u in all_updates() if not u.closure and not u.sparse], ids=lambda u: u.__name__
)
def test_a_step_leaves_what_it_is_given(update):
    p = Parameter(torch.ones(2, 3))
    made_ = update.optimizers[0]([p], **next(iter(update.cases())))
    p.grad = torch.ones(2, 3)
    made_.step()
    (slot,) = slots(made_, update, [["w"]])
    copies = [slot.parameters[0].clone(), *(value.clone() for value in slot.state.values())]
    gradient = torch.full((2, 3), 2.0)
    run_step(update, slot.parameters, gradient, slot.state, slot.options)
    assert all(torch.equal(a, b) for a, b in zip(copies, [slot.parameters[0], *slot.state.values()], strict=True))
    assert torch.equal(gradient, torch.full((2, 3), 2.0))


def test_an_update_may_not_call_a_kernel_that_does_its_work():
    class Lazy(Update, optimizers=[type("Lazy", (torch.optim.Optimizer,), {})]):
        start = staticmethod(lambda w, **options: {})
        step = staticmethod(lambda w, g, state: (torch.lerp(w, g, 0.1), state))

    with pytest.raises(AssertionError, match="not an elementary operation"):
        run_step(Lazy, (torch.ones(3),), torch.ones(3), {}, {})


def test_one_optimizer_can_not_have_two_updates():
    with pytest.raises(TypeError, match="two updates"):

        class Second(Update, optimizers=[torch.optim.SGD]):
            pass

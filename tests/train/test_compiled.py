"""The compiled engine: the same training as the eager one, seen by the check, its machine code kept on disk."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop

from bptrain.config.compose import compose, settings_of
from bptrain.errors import GradientsWrong
from bptrain.train.compiled import Compiled
from bptrain.train.fit import fit, steps_of
from bptrain.train.program import Program, Untraceable
from bptrain.train.run import build


class Wide(nn.Module):
    """All that needs care: a layer that is not used, a frozen one, one weight in two places, a buffer, dropout."""

    def __init__(self):
        super().__init__()
        self.first, self.unused = nn.Linear(3, 5, bias=False), nn.Linear(2, 2)  # a bias before a norm has no gradient
        self.frozen = nn.Linear(5, 5).requires_grad_(False)
        self.norm, self.dropout = nn.BatchNorm1d(5), nn.Dropout(0.4)
        self.again, self.last = nn.Linear(3, 5), nn.Linear(5, 3)
        self.again.weight = self.first.weight

    def forward(self, x):
        h = self.dropout(self.norm(self.first(x).tanh())) + self.again(x)
        return self.last(self.frozen(h)) * x.mean().item()


def trained(eager, engine, steps):
    """All that steps leave behind: losses, weights, buffers, gradients, the optimizer's state, the generator's."""
    losses = []
    for rows in steps:
        losses.append(engine.step(rows))
        eager.state.step += 1
    gradients = {f"gradient of {name}": p.grad for name, p in eager.model.named_parameters()}
    states = {
        f"{key} of {i}": value
        for i, p in enumerate(eager.parameters)
        for key, value in eager.optimizer.state.get(p, {}).items()
    }
    tensors = eager.model.state_dict() | gradients | states | {"losses": torch.stack(losses)}
    return {name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}, torch.get_rng_state()


def same(eager_of, model, make, steps, tolerance=1e-5, **options):
    """Whether both engines train alike, the program made for the first step; returns what is left behind."""
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        net = copy.deepcopy(model)
        eager = eager_of(net, make(net.parameters()), **options)
        engine = Compiled(eager, steps[0]) if compiled else eager
        results.append(trained(eager, engine, steps))
    (theirs, their_generator), (ours, our_generator) = results
    assert theirs.keys() == ours.keys()
    for name, tensor in theirs.items():
        assert tensor.dtype == ours[name].dtype
        torch.testing.assert_close(ours[name], tensor, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m)
    assert torch.equal(their_generator, our_generator)
    return ours


def rows_of(*numbers):
    return [torch.tensor(numbers)]


STEPS = [rows_of(0, 1, 2), rows_of(3, 4, 5), rows_of(6, 1), rows_of(5, 0, 3), rows_of(4, 6, 2)]  # one of two rows


@pytest.mark.parametrize(
    "make",
    [
        lambda p: SGD(p, 0.1, weight_decay=0.5),
        lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda p: RMSprop(p, 0.01, centered=True, momentum=0.5),
        lambda p: Adam(p, 0.01, amsgrad=True),
        lambda p: AdamW(p, 0.01, weight_decay=0.5),
        lambda p: SGD(p, 0.1, momentum=0.9, dampening=0.5, weight_decay=0.5),  # the rest have no Update
        lambda p: SGD(p, 0.1, maximize=True),
        lambda p: Adagrad(p, 0.1),
    ],
)
def test_training_is_that_of_the_eager_engine(eager_of, make):
    torch.manual_seed(1)
    model = Wide()
    left = same(eager_of, model, make, STEPS)
    assert "gradient of unused.weight" not in left
    for name in ("unused.weight", "frozen.weight"):
        assert torch.equal(left[name], model.state_dict()[name])
    assert not torch.equal(left["first.weight"], model.first.weight)
    assert left["norm.num_batches_tracked"] == len(STEPS)


class Following(nn.Module):
    """Values of its inputs, and a weight that it bounds, in ways that a program can follow."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        with torch.no_grad():
            self.linear.weight.clamp_(-0.1, 0.1)
        y = self.linear(x)
        return y * y.sum().item() + y[y > 0].sum()


def test_values_that_steer_nothing_are_followed(eager_of):
    torch.manual_seed(1)
    same(eager_of, Following(), lambda p: SGD(p, 0.1), STEPS)


@pytest.mark.parametrize("clip", [1e-3, 0.3, 100.0])
def test_gradients_are_clipped_as_by_the_eager_engine(eager_of, clip):
    torch.manual_seed(1)
    same(eager_of, Wide(), lambda p: SGD(p, 0.5), STEPS, clip=clip)


def test_accumulated_batches_of_other_sizes_count_by_their_rows(eager_of):
    sets = [((0, 1, 2), (3, 4)), ((5, 6, 0), (2, 1)), ((4, 1), (6, 0, 2))]  # the last of other sizes
    steps = [[torch.tensor(numbers) for numbers in step] for step in sets]
    torch.manual_seed(1)
    same(eager_of, Wide(), lambda p: Adam(p, 0.01), [*steps, rows_of(1, 2, 3), steps[0]], clip=0.5)


def test_precisions_are_those_of_the_eager_engine(eager_of):
    torch.manual_seed(1)
    left = same(eager_of, Wide().double(), lambda p: AdamW(p, 0.01), STEPS, 1e-13, clip=0.5)
    assert left["first.weight"].dtype == torch.float64
    model, make = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)), lambda p: SGD(p, 0.1, momentum=0.9)
    coarse = same(eager_of, model, make, STEPS, 1e-6, casts=torch.autocast("cpu", torch.bfloat16))
    assert coarse["0.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=iris", "model.sizes=[5]", "model.dropout=0.3", "model.norm=batch", "fit.drop_last=true"],
        ["data=digits", "model=cnn", "model.channels=[3]", "model.dropout=0.2", "optimizer=rmsprop"],
        ["experiment=digits_vae", "optimizer=adam"],
        ["experiment=digits_rbm"],
        ["data=digits", "model=gru", "model.hidden=3", "model.layers=2", "model.dropout=0.5", "fit.clip=0.1"],
        ["data=digits", "model=lstm", "model.hidden=3", "fit.tbptt=3", "scheduler=cosine", "fit.accumulate=2"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_networks_of_the_project_train_as_by_the_eager_engine(overrides):
    results = []
    for compiled in (False, True):
        run = build(settings_of(compose(["fit.epochs=2", "fit.batch_size=16", *overrides])))
        steps = steps_of(run, 0)
        steps = [*steps[:3], steps[-1], *steps[3:5]]  # the last of an epoch may be a smaller one
        engine = Compiled(run.engine, steps[0]) if compiled else run.engine
        losses = []
        for rows in steps:
            losses.append(engine.step(rows))
            run.state.schedule.step()
            run.state.step += 1
        results.append((torch.stack(losses), run.state.model.state_dict(), torch.get_rng_state()))
    (theirs, their_weights, before), (ours, our_weights, after) = results
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(our_weights, their_weights, rtol=1e-4, atol=1e-5)
    assert torch.equal(before, after)


def test_a_batch_of_another_size_leaves_the_gradients_where_an_eager_step_would(eager_of):
    torch.manual_seed(1)
    left = same(eager_of, Wide(), lambda p: SGD(p, 0.1), STEPS[:3])
    same(eager_of, Wide(), lambda p: SGD(p, 0.1), STEPS[:4])
    assert "gradient of unused.weight" not in left


FAULTS = {
    "gradient": "0.999|1.001",
    "update": "The update of SGD is wrong",
    "loss": "the loss that the engine gives is off by 1.0e-03",
    "buffer": "buffers",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_program_is_found_by_the_check(run_of, fault):
    run = run_of("model.norm=batch")
    engine = run.engine = Compiled(run.engine, steps_of(run, 0)[0])
    right = engine.program.run

    def wrong(tensors):
        model = run.state.model
        before = [p.detach().clone() for p in model.parameters()]
        (loss,) = right(tensors)
        with torch.no_grad():
            for p, old in zip(model.parameters(), before, strict=True):
                if fault == "gradient":
                    p.grad *= 1.001
                if fault == "update":
                    p.copy_(old + (p - old) * 1.001)
            if fault == "buffer":
                next(b for b in model.buffers() if b.is_floating_point()).mul_(1.001).add_(1e-3)
        return [loss * 1.001 if fault == "loss" else loss]

    engine.program.run = wrong
    with pytest.raises(GradientsWrong, match=FAULTS[fault]) as caught:
        list(fit(run))
    assert caught.value.exit_code == 3


def test_without_a_fault_the_check_verifies_the_program(run_of):
    run = run_of("model.norm=batch", "check.every=3")
    run.engine = Compiled(run.engine, steps_of(run, 0)[0])
    verdicts = [record.report.verdict for record in fit(run) if hasattr(record, "report")]
    assert set(verdicts) == {"verified"}
    assert len(verdicts) > 2


def times(factor, constant):
    return lambda x: [x.sum() * factor + torch.tensor(constant)]


def test_what_machine_code_depends_on_leads_to_another_path(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    x = torch.ones(3, 4)
    program = Program(times(2.0, 2.0), [x])
    assert program.path().parent.parent == tmp_path
    assert Program(times(2.0, 2.0), [x + 1]).path() == program.path()
    others = [Program(times(2.0, 2.0), [y]).path() for y in (torch.ones(4, 4), torch.ones(4, 3).T, x.double())]
    others += [Program(times(*numbers), [x]).path() for numbers in ((3.0, 2.0), (2.0, 3.0), (2.0, [2.0]))]
    try:
        torch.set_num_threads(2)
        others.append(program.path())
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        others.append(program.path())
    finally:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(False)
    assert len({program.path(), *others}) == 1 + len(others)


def test_machine_code_trains_as_the_eager_engine_and_is_verified(compiled, run_of):
    eager, run = run_of(), run_of()
    run.engine = Compiled(run.engine, steps_of(run, 0)[0])
    run.engine.compile()
    assert run.engine.program.cached
    *_, finished = fit(eager)
    checked, *_, again = fit(run)
    assert checked.report.verdict == "verified"
    assert again.scores == pytest.approx(finished.scores)
    torch.testing.assert_close(run.state.model.state_dict(), eager.state.model.state_dict(), rtol=1e-5, atol=1e-6)


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    """One bit in the middle of the machine code."""
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize("torn", [cut, flipped, lambda data: b""])
def test_a_torn_package_is_made_anew(compiled, run_of, no_compiler, monkeypatch, tmp_path, torn):
    run = run_of()
    program = Compiled(run.engine, steps_of(run, 0)[0]).program
    data = program.path().read_bytes()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    program.path().parent.mkdir()
    program.path().write_bytes(torn(data))
    with pytest.raises(Untraceable, match="there is no C"):  # who comes to ask for one is making it anew
        program.compile()


def test_the_package_of_another_program_is_not_run(compiled, run_of, no_compiler, monkeypatch, tmp_path):
    run = run_of()
    program, other = (Compiled(run.engine, rows).program for rows in (steps_of(run, 0)[0], steps_of(run, 0)[-1]))
    data = program.path().read_bytes()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    other.path().parent.mkdir()
    other.path().write_bytes(data)
    with pytest.raises(Untraceable, match="there is no C"):
        other.compile()


def test_a_cache_that_is_no_folder_is_said_in_one_line(run_of, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file"))
    run = run_of()
    with pytest.raises(Untraceable, match="Not a directory"):
        Compiled(run.engine, steps_of(run, 0)[0]).compile()

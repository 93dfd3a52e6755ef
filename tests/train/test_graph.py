"""The graph engine: a recorded step trains as an eager one. On a CPU the program is called for it."""

import pytest
import torch

from bptrain.cli.main import main
from bptrain.errors import GradientsWrong
from bptrain.train import choice
from bptrain.train.choice import Choosing
from bptrain.train.compiled import Compiled
from bptrain.train.fit import fit, steps_of
from bptrain.train.graph import WARM, Graph, captured
from bptrain.train.record import Chosen

NETWORK = ["model.norm=batch", "model.dropout=0.3", "fit.clip=0.5", "fit.accumulate=2", "loss.label_smoothing=0.1"]


def called(run, tensors):
    """What a recording is, without a GPU: the same calls on the same tensors, results in memory of its own."""
    for _ in range(WARM):
        run(tensors)
    results = [result.clone() for result in run(tensors)]

    def replay():
        for result, new in zip(results, run(tensors), strict=True):
            result.copy_(new)
        return results

    return replay


CAPTURES = {"cpu": called} | ({"cuda": captured} if torch.cuda.is_available() else {})
on_each_device = pytest.mark.parametrize("device", CAPTURES)


def kept(run):
    """All that training changes."""
    found = {name: value.clone() for name, value in run.state.model.state_dict().items()}
    for i, parameter in enumerate(run.state.model.parameters()):
        for key, value in run.state.optimizer.state[parameter].items():
            found[f"{key} of {i}"] = torch.as_tensor(value).clone()
    return found | {"generator": torch.get_rng_state()}


@on_each_device
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "adagrad"])  # no program updates by the last one
def test_training_is_that_of_the_eager_engine(run_of, device, optimizer):
    results = []
    for graph in (False, True):
        run = run_of(f"device={device}", f"optimizer={optimizer}", "scheduler=cosine", *NETWORK)
        steps = [*steps_of(run, 0), *steps_of(run, 1)]  # the last of an epoch is smaller
        order = [[rows.clone() for rows in step] for step in steps]
        engine = Graph(Compiled(run.engine, steps[0]), CAPTURES[device]) if graph else run.engine
        losses = []
        for rows in steps:
            losses.append(engine.step(rows))
            run.state.schedule.step()
            run.state.step += 1
        for step, before in zip(steps, order, strict=True):
            assert all(map(torch.equal, step, before))
        results.append(kept(run) | {"losses": torch.stack(losses)})
    eager, graph = results
    torch.testing.assert_close(graph, eager, rtol=1e-5, atol=1e-6)
    assert torch.equal(graph["generator"], eager["generator"])


@on_each_device
def test_recording_leaves_the_state_as_it_is(run_of, device):
    run = run_of(f"device={device}", *NETWORK)
    compiled = Compiled(run.engine, steps_of(run, 0)[0])
    before = kept(run)
    Graph(compiled, CAPTURES[device])
    after = kept(run)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@on_each_device
def test_the_check_sees_what_a_graph_does(run_of, device):
    run = run_of(f"device={device}", "check.every=3")
    run.engine = Graph(Compiled(run.engine, steps_of(run, 0)[0]), CAPTURES[device])
    verdicts = [record.report.verdict for record in fit(run) if hasattr(record, "report")]
    assert len(verdicts) > 2
    assert set(verdicts) == {"verified"}

    def off(run, tensors):
        replay = CAPTURES[device](run, tensors)
        return lambda: [loss * 1.001 for loss in replay()]

    run = run_of(f"device={device}")
    run.engine = Graph(Compiled(run.engine, steps_of(run, 0)[0]), off)
    with pytest.raises(GradientsWrong, match="the loss that the engine gives is off by"):
        list(fit(run))


class Timed(Choosing):
    """A step takes 1 s eagerly, 0.4 s as a program, and `graph_takes` as a graph."""

    time, graph_takes = 0.0, 0.1

    def _now(self):
        self.time += {"eager": 1.0, "compiled": 0.4, "graph": self.graph_takes}[self._name(self.engine)]
        return self.time


def refused(run, tensors):
    run(tensors)
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing")


def chosen(run, capture, graph_takes, measuring=True):
    run.engine = Timed(run.engine, run.total_steps, measuring, capture)
    run.engine.graph_takes = graph_takes
    (record,) = [record for record in fit(run) if isinstance(record, Chosen)]
    return record


@pytest.mark.parametrize(
    ("capture", "takes", "engine", "words"),
    [
        (called, 0.1, "graph", "compiled it takes 400.00 ms a step, eagerly 1000.00 ms, as a graph 100.00 ms"),
        (called, 0.5, "compiled", "as a graph 500.00 ms"),
        (refused, 0.1, "compiled", "it can't be recorded: CUDA error: operation not permitted"),
    ],
)
def test_the_fastest_of_three_is_kept(run_of, compiled, monkeypatch, capture, takes, engine, words):
    monkeypatch.setattr(choice, "MEASURED", 4)
    run, eager = run_of("fit.epochs=4"), run_of("fit.epochs=4")
    record = chosen(run, capture, takes)
    assert record.engine == engine
    assert words in record.why
    list(fit(eager))
    torch.testing.assert_close(run.state.model.state_dict(), eager.state.model.state_dict(), rtol=1e-5, atol=1e-6)


def test_a_graph_that_is_asked_for_is_used_from_the_first_step(run_of, compiled):
    record = chosen(run_of(), called, 0.1, measuring=False)
    assert (record.step, record.engine) == (0, "graph")
    assert record.why.startswith("fit.engine=graph, ")
    record = chosen(run_of(), refused, 0.1, measuring=False)
    assert (record.step, record.engine) == (0, "compiled")
    assert "it can't be recorded" in record.why


@pytest.mark.parametrize("verb", ["train", "check"])
def test_without_a_gpu_it_is_refused_before_anything_is_written(monkeypatch, tmp_path, capsys, verb):
    monkeypatch.chdir(tmp_path)
    assert main([verb, "fit.engine=graph"]) == 2
    error = capsys.readouterr().err
    assert "fit.engine: graph records steps of an NVIDIA GPU, and this run is on cpu." in error
    assert "Write fit.engine=compiled" in error
    assert list(tmp_path.iterdir()) == []

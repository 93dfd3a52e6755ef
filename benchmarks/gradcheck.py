"""Gradient checks side by side: planted faults found and blamed, false alarms on honest training, and cost.

bptrain's check, torch.autograd.gradcheck with its defaults in float64, its fast mode, and one random projection:
central differences of <c, f(x + h d)> against <gradient, d>, with the step and the tolerances, both absolute and
relative, of jax.test_util.check_grads (jax/_src/public_test_util.py: EPS and default_gradient_tolerance). All but
bptrain check a function of all parameters and the input, whose random draws are the same in each call.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch
from checkers import Function, fast, projection, slow
from faults.fault import Fault
from torch import Tensor, nn

from bptrain import GradientReport, check_gradients
from bptrain.check.verdict import failed
from bptrain.config.compose import compose, settings_of
from bptrain.train.fit import fit
from bptrain.train.run import Run, build
from faults import FAULTS, KINDS

ROWS = 32  # of the batch that is trained on
# Of each kind of network that gives one tensor, which is what the others can check.
PRESETS = "diabetes_mlp digits_cnn digits_gru digits_mlp iris_mlp mnist1d_cnn mnist1d_gru mnist1d_mlp".split()
SMALL = 3_000  # elements that gradcheck is run for; more take minutes

OTHERS: dict[str, tuple[Callable[[Function], bool], torch.dtype]] = {
    "gradcheck": (slow, torch.float64),
    "its fast mode": (fast, torch.float64),
    "projection f32": (projection, torch.float32),
    "projection f64": (projection, torch.float64),
}


def detection(faults: list[Fault]) -> None:
    """Prints which tool finds which fault, and which one accuses an honest twin."""
    print(f"\nplanted faults: {len(faults)}. yes: found; strict: something is `unverified`, an error under strict=True")
    print("told: it may be meant, so that bptrain names it without an error")
    print("blame: bptrain names the place of the fault and nothing else, for a wrong call exactly that call")
    print(f"\n  {'bptrain':<9}{'blame':<7}" + "".join(f"{name:<16}" for name in OTHERS) + "fault")
    found, accused, ways = Counter[str](), Counter[str](), Counter[str]()
    for fault in faults:
        report, honest = (check_gradients(fault.build(faulty), fault.inputs, strict=True) for faulty in (True, False))
        row = {"bptrain": _how(report), "blame": "yes" if fault.blamed(report) else "-"}
        ways[row["bptrain"]] += 1
        accused["bptrain"] += not honest.ok or bool(honest.wiring)
        for name, (tool, dtype) in OTHERS.items():
            row[name] = "yes" if tool(Function(fault.build(True), fault.inputs, dtype)) else "-"
            accused[name] += tool(Function(fault.build(False), fault.inputs, dtype))
        found.update(name for name, word in row.items() if word != "-")
        _row(row, f"{fault.name}: {fault.wrong}")
    _row(
        {name: str(found[name]) for name in ("bptrain", "blame", *OTHERS)},
        f"found, of {len(faults)}; bptrain: {_listed(ways)}",
    )
    _row({"blame": "", **{name: str(accused[name]) for name in ("bptrain", *OTHERS)}}, "honest twins accused")


def _how(report: GradientReport) -> str:
    if report.ok:
        return "told" if report.wiring else "-"
    return "yes" if failed(report.verdict) else "strict"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {word}" for word, number in counts.most_common() if word != "-")


def _row(cells: dict[str, str], words: str) -> None:
    print(
        f"  {cells['bptrain']:<9}{cells['blame']:<7}" + "".join(f"{cells[n]:<16}" for n in OTHERS) + words, flush=True
    )


def alarms(presets: list[str], seeds: int, steps: list[int]) -> None:
    """Prints how often each tool accuses presets at the start of an honest training and later in it."""
    checks, calls, accused, failures = Counter[str](), Counter[str](), Counter[str](), []
    for preset in presets:
        for seed in range(seeds):
            run = build(settings_of(compose([f"experiment={preset}", f"seed={seed}", "check.enabled=false"])))
            training = fit(run)
            for step in steps:
                while run.state.step < step:
                    next(training)
                for tool, alarm, size in judged(run, slowly=seed == 0 and step == steps[-1]):
                    checks[tool] += 1
                    calls[tool] += size
                    accused[tool] += alarm
                    if alarm and tool.startswith("bptrain"):
                        failures.append(f"{tool}: {preset}, seed {seed}, step {step}")
    print(f"\nhonest training: {len(presets)} presets, {seeds} seeds, after {', '.join(map(str, steps))} steps")
    print(f"\n  {'':<36}{'checks':>8}{'calls':>9}{'false alarms':>14}")
    for tool, number in checks.items():
        print(f"  {tool:<36}{number:>8}{calls[tool] or '':>9}{accused[tool]:>14}")
    for failure in failures:
        print(f"  false alarm of {failure}")


def judged(run: Run, slowly: bool) -> Iterator[tuple[str, bool, int]]:
    """Each tool's name, its alarm and the number of calls that it checked, on a network that is right.

    bptrain takes a batch of 32 rows with the loss, the others the outputs of 4 rows; gradcheck takes long.
    """
    model, part = run.state.model, run.dataset.parts["train"]
    inputs, targets = part.inputs[:ROWS], part.targets[:ROWS]
    half = copy.deepcopy(model).bfloat16()
    half_targets = targets.bfloat16() if targets.is_floating_point() else targets
    for tool, report in (
        ("bptrain, float32", check_gradients(model, inputs, targets, run.loss)),
        ("bptrain, bfloat16", check_gradients(half, inputs.bfloat16(), half_targets, run.loss)),
        ("bptrain, autocast to bfloat16", autocast(model, inputs, targets, run.loss)),
    ):
        yield tool, not report.ok, len(report.calls)
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        yield f"gradcheck's fast mode, {name}", fast(Function(model, inputs[:4], dtype)), 0
        yield f"projection, {name}", projection(Function(model, inputs[:4], dtype)), 0
        if slowly and sum(p.numel() for p in model.parameters()) < SMALL:
            yield f"gradcheck, {name}, small presets", slow(Function(model, inputs[:4], dtype)), 0


def autocast(model: nn.Module, inputs: Tensor, targets: Tensor, loss: nn.Module) -> GradientReport:
    with torch.autocast("cpu", torch.bfloat16):
        return check_gradients(model, inputs, targets, loss)


def cost(networks: dict[str, tuple[nn.Module, Tensor]], repetitions: int) -> None:
    """Prints what each tool costs beside a training step of the same network and batch."""
    print(f"\ncost in training steps: forward, backward and Adam in float32, {ROWS} rows; medians of {repetitions}")
    print("in brackets: passes of the network, forward + backward; target: bptrain at most 12.0 steps")
    print("~ from gradcheck's definition: 2 forward for each element of parameters and input, 2 backward of the output")
    print(f"\n  {'':<9}{'parameters':>11}{'ms/step':>9}{'bptrain':>16}{'projection f32':>16}", end="")
    print(f"{'its fast mode':>18}{'gradcheck':>22}")
    for name, (network, inputs) in networks.items():
        function = Function(network, inputs, torch.float64)
        single = Function(network, inputs, torch.float32)
        elements, outputs = sum(x.numel() for x in function.at), function(*function.at).numel()
        targets, tally = torch.arange(ROWS) % 10, Counter[str]()
        step = training(network, inputs, targets)
        ways: dict[str, tuple[Callable[[], object], Counter[str]]] = {
            "bptrain": (partial(check_gradients, network, inputs, targets, counted(tally)), tally),
            "projection f32": (partial(projection, single), single.passes),
            "its fast mode": (partial(fast, function), function.passes),
        }
        if elements < SMALL:
            ways["gradcheck"] = (partial(slow, function), function.passes)
        units: list[float] = []
        ratios: dict[str, list[float]] = {way: [] for way in ways}
        passes: dict[str, str] = {}
        for _ in range(repetitions):
            units.append(unit := seconds(step, 0.1))
            for way, (run, counter) in ways.items():
                counter.clear()
                ratios[way].append(seconds(run) / unit)
                passes[way] = f"({counter['forward']:,}+{counter['backward']:,})"
        cells = {way: f"{median(found):,.1f} {passes[way]}" for way, found in ratios.items()}
        cells.setdefault("gradcheck", f"~({2 * elements:,}+{2 * outputs:,})")
        count = elements - inputs.numel()
        print(f"  {name:<9}{count:>11,}{median(units) * 1e3:>9.2f}{cells['bptrain']:>16}", end="")
        print(f"{cells['projection f32']:>16}{cells['its fast mode']:>18}{cells['gradcheck']:>22}", flush=True)


def seconds(run: Callable[[], object], least: float = 0.0) -> float:
    """What a run takes; the mean of as many as last `least` seconds."""
    runs, begun = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begun) < least or not runs:
        run()
        runs += 1
    return elapsed / runs


def training(network: nn.Module, inputs: Tensor, targets: Tensor) -> Callable[[], None]:
    """A step of Adam on a copy of the network."""
    network = copy.deepcopy(network)
    optimizer, loss = torch.optim.Adam(network.parameters()), nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss(network(inputs), targets).backward()
        optimizer.step()

    return step


def counted(passes: Counter[str]) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a check, which counts the passes of the network in either direction."""

    def loss(output: Tensor, targets: Tensor) -> Tensor:
        passes["forward"] += 1
        output.register_hook(lambda gradient: passes.update(["backward"]))
        return nn.functional.cross_entropy(output, targets)

    return loss


def sizes() -> dict[str, tuple[nn.Module, Tensor]]:
    """Perceptrons of some 1,000 to 8,000,000 parameters and two convolutional networks, each with a batch."""
    torch.manual_seed(0)
    found: dict[str, tuple[nn.Module, Tensor]] = {}
    for width in (16, 100, 300, 1000, 2800):
        layers = [nn.Linear(20, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10)]
        found[f"mlp {width}"] = nn.Sequential(*layers), torch.randn(ROWS, 20)
    for channels in (8, 32):
        first = [nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]
        second = [nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.BatchNorm2d(2 * channels), nn.ReLU()]
        last = [nn.Flatten(), nn.Linear(2 * channels * 64, 10)]
        found[f"cnn {channels}"] = nn.Sequential(*first, *second, *last), torch.randn(ROWS, 1, 16, 16)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one fault of each kind, one preset, one size")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    print(f"gradient checks side by side, torch {torch.__version__}")
    detection([kind.FAULTS[0] for kind in KINDS] if quick else FAULTS)
    if quick:
        alarms(["iris_mlp"], 1, [0])
        cost(dict([*sizes().items()][:1]), 1)
    else:
        alarms(PRESETS, 3, [0, 20, 150])
        cost(sizes(), 3)


if __name__ == "__main__":
    main()

"""Time per step over the width of three hidden layers, beside that of the step's matrix products alone.

Batches of 32 rows of digits, Adam, one thread; bptrain's eager engine, its fit alone; the first epoch is not counted.
The products are those of the forward and of the backward pass (Y = X W', dW = dY' X, and dX = dY W but for the first
layer), on matrices of the same shapes. The exponent is that of a power law, fitted by least squares to the logarithms
of time and width over the larger half.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from networks import mlp
from step import Clock, alone, plain
from table import Table, arguments
from workload import Workload

WIDTHS = (32, 64, 128, 256, 512, 1024, 2048)
EPOCHS = {32: 41, 64: 41, 128: 41, 256: 21, 512: 11, 1024: 4, 2048: 3}
STEPS = 37  # of an epoch: 1169 rows
PLAIN, EAGER, PRODUCTS = "plain loop, us", "bptrain, us", "products, us"


def products(width: int, steps: int) -> float:
    """Seconds of the matrix products of a step."""
    shapes = [(64, width), (width, width), (width, width), (width, 10)]
    layers = [(torch.randn(32, i), torch.randn(o, i), torch.randn(32, o)) for i, o in shapes]
    outputs = [(torch.empty(32, o), torch.empty(o, i), torch.empty(32, i)) for i, o in shapes]

    def step() -> None:
        for (x, w, _), (y, _, _) in zip(layers, outputs, strict=True):
            torch.mm(x, w.T, out=y)
        for i, ((x, w, dy), (_, dw, dx)) in reversed(list(enumerate(zip(layers, outputs, strict=True)))):
            torch.mm(dy.T, x, out=dw)
            if i:
                torch.mm(dy, w, out=dx)

    step()
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - begun) / steps


def exponent(seconds: dict[int, float]) -> float:
    larger = WIDTHS[len(WIDTHS) // 2 :]
    return float(np.polyfit(np.log(larger), np.log([seconds[width] for width in larger]), 1)[0])


def draw(measured: dict[str, dict[int, float]], exponents: dict[str, float], pyplot: Any) -> None:
    _, axis = pyplot.subplots(figsize=(5, 3.5))
    for name, seconds in measured.items():
        told = f"{name.removesuffix(', us')}, exponent {exponents[name]:.2f}"
        axis.loglog(WIDTHS, [1e6 * seconds[width] for width in WIDTHS], "o-", label=told)
    axis.set_xticks(WIDTHS, [str(width) for width in WIDTHS], minor=False)
    axis.set(xlabel="units of each of three hidden layers", ylabel="microseconds a step", title="Time per step")
    axis.minorticks_off()
    axis.legend()


def once(width: int, epochs: int) -> dict[str, float]:
    """Seconds a step of each."""
    words = (f"model.sizes=[{width},{width},{width}]", f"fit.epochs={epochs}")
    workload = Workload(f"{width}", words, partial(mlp, width, width, width), {})
    counted, seconds = (epochs - 1) * STEPS, {}
    for name, way in ((PLAIN, partial(plain, workload, True, False)), (EAGER, partial(alone, workload, ()))):
        clock = Clock()
        way(clock)
        seconds[name] = clock.rest / counted
    return seconds | {PRODUCTS: products(width, counted)}


def main() -> None:
    given = arguments(__doc__, 3)
    torch.set_num_threads(1)
    columns = {PLAIN: ".0f", EAGER: ".0f", PRODUCTS: ".0f", "of plain": ".2f", "of products": ".2f"}
    table = Table("width", "Time per step over width, batches of 32, one thread", columns, EAGER, given)
    table.section("units of each of three hidden layers")
    measured: dict[str, dict[int, float]] = {PLAIN: {}, EAGER: {}, PRODUCTS: {}}
    for width in WIDTHS:
        found = [once(width, 2 if given.quick else EPOCHS[width]) for _ in range(given.repetitions)]
        for name, seconds in measured.items():
            seconds[width] = median(times[name] for times in found)
        ratios = [median(times[EAGER] / times[base] for times in found) for base in (PLAIN, PRODUCTS)]
        table.row(f"{width}", *(1e6 * seconds[width] for seconds in measured.values()), *ratios)
    exponents = {name: exponent(seconds) for name, seconds in measured.items()}
    table.row("exponent", *(f"{found:.2f}" for found in exponents.values()))
    table.write(partial(draw, measured, exponents))


if __name__ == "__main__":
    main()

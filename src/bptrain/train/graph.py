"""Graph: the engine that records the program of a step once, as a CUDA graph, and replays it.

A replay launches all kernels of a step by one call, where launching each takes longer than a small network computes.
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. It has not been run on a GPU yet: what is tested, on
CPUs, is all but `captured`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bptrain.train.compiled import Compiled
from bptrain.train.program import Compute, Untraceable, reason
from bptrain.train.record import Chosen

WARM = 3  # calls before the recording, in which libraries get ready
Replay = Callable[[], list[Tensor]]  # does again to the same tensors what was recorded; the results are overwritten
Capture = Callable[[Compute, list[Tensor]], Replay]


class Graph:
    """A compiled step, recorded for the batch sizes that it was compiled for; others are left to its eager engine.

    What each step has of its own, row indices, numbers and random draws, is copied into tensors of the recording.
    Untraceable when `capture` can't record it, the state being what it was.
    """

    chosen: Chosen | None = None

    def __init__(self, compiled: Compiled, capture: Capture) -> None:
        self.compiled, program = compiled, compiled.program
        lasting = [compiled.eager.inputs, compiled.eager.targets, *compiled.lasting]
        fixed = {id(tensor) for tensor in lasting}
        self.tensors = [t if id(t) in fixed else t.clone() for t in program.examples]
        before = [tensor.clone() for tensor in compiled.lasting]
        try:
            self.replay = capture(program.run, self.tensors)
        except RuntimeError as error:  # CUDA's own
            raise Untraceable(f"it can't be recorded: {reason(error)}") from error
        finally:
            for tensor, value in zip(compiled.lasting, before, strict=True):
                tensor.copy_(value)  # calls before the recording were steps

    def step(self, batches: Sequence[Tensor]) -> Tensor:
        return self.compiled.step(batches, self._run)

    def _run(self, tensors: list[Tensor]) -> list[Tensor]:
        for own, given in zip(self.tensors, tensors, strict=True):
            if own is not given:
                own.copy_(given)
        return [result.clone() for result in self.replay()]


def captured(run: Compute, tensors: list[Tensor]) -> Replay:
    """Records what `run` does with tensors on a GPU, its own memory in a pool of the recording, after a few calls."""
    with torch.cuda.device(tensors[0].device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM):
                run(tensors)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = run(tensors)

    def replay() -> list[Tensor]:
        graph.replay()
        return results

    return replay

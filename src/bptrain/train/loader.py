"""Loader: reads what the next steps need of data that is not in memory, while a step is made."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from torch import Tensor

from bptrain.data.rows import Rows

AHEAD = 2  # batches that are ready or being read, for each worker
Step = TypeVar("Step", bound=list[Tensor])


def read_ahead(inputs: Tensor | Rows, steps: list[Step]) -> Iterator[Step]:
    """The steps, each a list of batches, as they are; meanwhile threads read rows for the steps that follow.

    What is ready is kept with the inputs under the batch that asks for it, and gone after its step, so that neither
    order nor number of threads matters. An error of a thread is raised where its batch is asked for. The threads end
    with the last step, or when this is closed.
    """
    if not isinstance(inputs, Rows) or not inputs.workers:
        yield from steps
        return
    depth = 1 + AHEAD * inputs.workers // max(map(len, steps))
    with ThreadPoolExecutor(inputs.workers, "bptrain-data") as pool:
        try:
            for i, step in enumerate(steps):
                for coming in steps[0 if i == 0 else i + depth - 1 : i + depth]:
                    inputs.ready.update({id(batch): pool.submit(inputs.read, batch) for batch in coming})
                yield step
                for batch in step:
                    del inputs.ready[id(batch)]
        finally:
            inputs.ready.clear()
            pool.shutdown(wait=True, cancel_futures=True)

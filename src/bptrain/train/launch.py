"""Launch: what torchrun tells each of the processes that it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bptrain.errors import BptrainError

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
MASTER = ("MASTER_ADDR", "MASTER_PORT")  # which torch reads itself


class ToldElsewhere(BptrainError):
    """An error that another process reports: it has no words of its own."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Launch:
    """The `rank` of this process among `size`, and the same among the processes of its machine.

    https://docs.pytorch.org/docs/stable/elastic/run.html
    """

    rank: int
    size: int
    local_rank: int
    local_size: int


def launched() -> Launch | None:
    """None for a process that was started by itself."""
    if any(name not in os.environ for name in (*NAMES, *MASTER)):
        return None
    return Launch(*(int(os.environ[name]) for name in NAMES))


@contextmanager
def told_once() -> Iterator[None]:
    """An error inside is one that all processes have: the first of each machine tells it."""
    try:
        yield
    except BptrainError as error:
        launch = launched()
        if launch is not None and launch.local_rank:
            raise ToldElsewhere(error.exit_code) from error
        raise

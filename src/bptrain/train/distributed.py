"""Distributed training: the processes that torchrun starts for one run, and what they tell each other."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bptrain.config.settings import Settings
from bptrain.data.rows import Rows
from bptrain.errors import BptrainError, Problem, RequestError, RunFailed
from bptrain.train.device import device_of
from bptrain.train.launch import Launch, ToldElsewhere, launched, told_once

if TYPE_CHECKING:
    from bptrain.train.sharded import Unsharded

PATIENCE = timedelta(minutes=1)  # in which the first process should have ended by an error that all of them have
LOST = "another process of this run has ended, and the others can't go on without it: what it said tells why."


@dataclass(frozen=True)
class Ranks:
    """The processes that train one run: the number of this one, the first of which writes, and how many there are."""

    rank: int
    size: int
    strategy: str

    @property
    def sharded(self) -> bool:
        return self.strategy == "fsdp"

    def facts(self, device: torch.device) -> dict[str, Any]:
        """What the lock of a run says of them."""
        backend = "nccl" if device.type == "cuda" else "gloo"
        return {"world_size": self.size, "strategy": self.strategy, "backend": backend}

    def shard(self, model: nn.Module, device: torch.device) -> Unsharded:
        """Divides a network in place among the ranks."""
        from bptrain.train.sharded import shard  # which takes a second to load

        return shard(model, device)

    def seed(self, seed: int) -> None:
        """Has each process draw dropout of its own: the first goes on as a single one would, the others are seeded."""
        if self.rank:
            digest = hashlib.blake2b(f"{seed} rank {self.rank}".encode(), digest_size=8).digest()
            torch.manual_seed(int.from_bytes(digest, "big") >> 1)

    def share(self, inputs: Tensor | Rows) -> Tensor | Rows:
        """This rank's rows of n inputs: as many for each, so that the last of all may be repeated at the end."""
        each = -(-len(inputs) // self.size)
        rows = torch.arange(self.rank * each, (self.rank + 1) * each).clamp(max=len(inputs) - 1)
        if isinstance(inputs, Rows):
            return replace(inputs, rows=inputs.rows[rows.numpy()])
        return inputs[rows.to(inputs.device)]

    def joined(self, share: Tensor, rows: int) -> Tensor:
        """The first `rows` rows of what the ranks made of their shares, one after the other."""
        parts = [torch.empty_like(share, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(parts, share.contiguous())
        return torch.cat(parts)[:rows]

    def first(self, values: Tensor) -> Tensor:
        """The values of the first rank, in place of all others'."""
        dist.broadcast(values, 0)
        return values

    def wait(self) -> None:
        """Until all ranks are here."""
        dist.barrier()

    def generators(self, device: torch.device) -> dict[str, Tensor]:
        """The states of the generators that the other ranks draw from, by name; each rank must call it."""
        states = [("torch", torch.get_rng_state())]
        if device.type == "cuda":
            states.append(("device", torch.cuda.get_rng_state(device)))
        found: dict[str, Tensor] = {}
        for name, state in states:
            each = [torch.empty_like(state) for _ in range(self.size)]
            dist.all_gather(each, state)
            found |= {f"{name} of rank {rank}": each[rank] for rank in range(1, self.size)}
        return found

    def restore(self, generators: dict[str, Tensor], device: torch.device) -> None:
        """Has this rank draw on from where it was. KeyError where its state is not among them."""
        if self.rank:
            torch.set_rng_state(generators[f"torch of rank {self.rank}"])
            if device.type == "cuda":
                torch.cuda.set_rng_state(generators[f"device of rank {self.rank}"], device)


def ranks_of(settings: Settings) -> Ranks | None:
    """Those that have been connected; None for a process alone. RequestError for what they can't do."""
    strategy = settings.fit.strategy
    if not (dist.is_available() and dist.is_initialized()):
        if strategy == "fsdp":
            what = "shards a network over processes, and this is one alone."
            raise RequestError(Problem("fit.strategy", what, "Start it with torchrun, or write fit.strategy=ddp."))
        return None
    return Ranks(dist.get_rank(), dist.get_world_size(), strategy)


@contextmanager
def connected(device: str) -> Iterator[None]:
    """Inside, the processes of torchrun are connected: by NCCL where a GPU is used, else by Gloo.

    An error that all of them have is told by the first one alone. A process that has been connected ends by `leave`.
    Without torchrun nothing is done.
    """
    launch = launched()
    if launch is None:
        yield
        return
    _connect(device, launch)
    try:
        yield
        dist.barrier()  # until the first has written all
    except BptrainError as error:
        if launch.rank and _first_has_ended():
            raise ToldElsewhere(error.exit_code) from error
        raise
    except Exception as error:
        if not isinstance(error, dist.DistError) and "gloo/" not in str(error):
            if launch.rank and _first_has_ended():
                raise ToldElsewhere(RunFailed.exit_code) from error
            raise
        raise (ToldElsewhere(RunFailed.exit_code) if launch.rank else RunFailed(LOST)) from error


def leave(code: int) -> None:
    """Ends this process where it is connected, but not by way of Python's own end.

    A thread of Gloo may still hold tensors that it has sent: it aborts when it lets go of them after the interpreter.
    """
    if not dist.is_initialized():
        return
    if not code:
        dist.destroy_process_group()
    sys.stderr.flush()
    os._exit(code)


def _connect(device: str, launch: Launch) -> None:
    with told_once():
        device = device_of(device).type
        if device not in ("cpu", "cuda"):
            what = f"{launch.size} processes can't train on '{device}' together."
            raise RequestError(Problem("device", what, "Write cpu, or cuda, of which each process takes one."))
        if device == "cuda" and launch.local_size > torch.cuda.device_count():
            what = f"{launch.local_size} processes take one GPU each, and this machine has {torch.cuda.device_count()}."
            raise RequestError(Problem("device", what, "Start fewer with --nproc-per-node, or write device=cpu."))
    if device == "cpu":
        dist.init_process_group("gloo")
        return
    torch.cuda.set_device(launch.local_rank)
    # What lies on the CPU, such as a decision of the first process, is sent by Gloo.
    dist.init_process_group("cpu:gloo,cuda:nccl", device_id=torch.device("cuda", launch.local_rank))


def _first_has_ended() -> bool:
    """Waits until the first process has said what is wrong; False when it does not end, having no such error."""
    try:
        dist.irecv(torch.empty(1), src=0).wait(PATIENCE)  # type: ignore[union-attr] # nothing comes: it fails at its end
    except RuntimeError as error:
        return "by peer" in str(error)  # closed, or reset
    return False


def replicated(model: nn.Module, unused: bool) -> nn.Module:
    """A network whose backward pass averages gradients over the ranks; some parameters may get none.

    https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html
    """
    return nn.parallel.DistributedDataParallel(model, find_unused_parameters=unused)

"""Sharding: a network whose parameters, gradients and optimizer state are divided among the processes."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from bptrain.config.settings import Settings
from bptrain.train.state import State, full


def shard(model: nn.Module, device: torch.device) -> Unsharded:
    """Divides a network in place, each of its blocks by itself: one is put together while it is run.

    https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html
    """
    unsharded = Unsharded(model, device)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for module in (*list(_blocks(model)), model):
        module.register_forward_hook(_with_own_memory)
        fully_shard(module, mesh=mesh)
    if hasattr(model, "predict"):
        register_fsdp_forward_method(model, "predict")
    return unsharded


def _with_own_memory(module: nn.Module, inputs: Any, output: Any) -> Any:
    """The output, and no view: where one is changed in place, the sharded module does not see its gradient."""
    return tree_map(lambda y: y.clone() if isinstance(y, Tensor) and y._is_view() else y, output)


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules of lists and sequences, whose parameters are theirs alone."""
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    for child in model.children():
        if not isinstance(child, (nn.ModuleList, nn.Sequential)):
            yield from _blocks(child)
            continue
        for block in child:
            parameters = list(block.parameters())
            if parameters and all(uses[id(p)] == 1 for p in parameters):
                yield block


class Unsharded:
    """A network as it was before it was divided, to compare its steps with: whole again, for as long as that takes."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.empty, self.device = _empty(model, torch.device("meta")), device  # takes no memory

    def of(self, state: State, settings: Settings) -> Replica:
        """Every rank must call it, and what the replica is told."""
        return Replica(_empty(self.empty, self.device), state, settings)


def _empty(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy on a device with whatever values; what is shared by modules stays so."""
    memo: dict[int, Tensor] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        fresh = torch.empty_like(tensor, device=device, requires_grad=False)
        memo[id(tensor)] = nn.Parameter(fresh, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fresh
    return copy.deepcopy(model, memo)


class Replica:
    """The whole network and its optimizer, with the values that those of a sharded `state` have."""

    def __init__(self, model: nn.Module, state: State, settings: Settings) -> None:
        self.model, self.state = model, state
        self.optimizer: Optimizer = settings.optimizer.build(model.parameters())
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Takes over parameters, gradients, buffers and the optimizer's state as they are now."""
        theirs = self.state.optimizer  # the network's own may be put together at the moment
        for group, given in zip(self.optimizer.param_groups, theirs.param_groups, strict=True):
            for mine, w in zip(group["params"], given["params"], strict=True):
                mine.copy_(full(w))
                mine.grad = None if w.grad is None else full(w.grad).clone()
                if w in theirs.state:
                    entries = theirs.state[w].items()
                    known = {key: full(v).clone() if isinstance(v, Tensor) else v for key, v in entries}
                    self.optimizer.state[mine] = known
            group.update({key: value for key, value in given.items() if key != "params"})
        for kept, buffer in zip(self.model.buffers(), self.state.model.buffers(), strict=True):
            kept.copy_(buffer)

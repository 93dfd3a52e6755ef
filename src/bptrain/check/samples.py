"""Samples: calls of every module of torch.nn that computes, torch's own and for the classes without any, ours."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bptrain.errors import Problem, RequestError

# Exported by torch.nn, but abstract, containers of others, lazy forms of others, or for several devices.
NOT_COMPUTING = {"Module", "Container", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"}
NOT_COMPUTING |= {"RNNBase", "RNNCellBase", "DataParallel", "NLLLoss2d"}


@dataclass(frozen=True)
class Sample:
    """A module in one configuration, and the arguments of one call of it."""

    name: str  # of its class
    label: str
    module: nn.Module
    args: tuple
    kwargs: dict[str, Any] = field(default_factory=dict)


def computing_classes() -> set[str]:
    """The names of torch.nn's classes that compute something of their own."""
    exported = {name for name in dir(nn) if isinstance(getattr(nn, name), type)}
    modules = {name for name in exported if issubclass(getattr(nn, name), nn.Module)}
    return {name for name in modules - NOT_COMPUTING if not name.startswith("Lazy")}


def samples(dtype: torch.dtype) -> Iterator[Sample]:
    """All samples of all classes. RequestError where torch's own can't be had: they need `expecttest`."""
    try:
        database = importlib.import_module("torch.testing._internal.common_modules").module_db
    except ModuleNotFoundError as error:
        what = f"torch's samples need the package {error.name}."
        raise RequestError(Problem("bptrain.reference", what, 'pip install "bptrain[dev]"')) from error
    classes = computing_classes()
    for info in database:
        name = info.module_cls.__name__
        if name in classes:
            for training in (True, False) if info.train_and_eval_differ else (True,):
                torch.manual_seed(0)
                given = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training)
                for i, sample in enumerate(given):
                    made = sample.constructor_input
                    module = info.module_cls(*made.args, **made.kwargs).to(dtype).train(training)
                    call = sample.forward_input
                    label = f"{sample.desc or i}{'' if training else ', evaluation'}"
                    yield Sample(name, label, module, _constants(call.args), dict(_named_constants(call.kwargs)))
    for name, label, make in OURS:
        torch.manual_seed(0)
        module, *args = make()
        yield Sample(name, label, module.to(dtype), tuple(_as(x, dtype) for x in args))


def _constants(args: tuple) -> tuple:
    return tuple(x.detach() if isinstance(x, Tensor) else x for x in args)


def _named_constants(kwargs: dict) -> Iterator[tuple[str, Any]]:
    yield from zip(kwargs, _constants(tuple(kwargs.values())), strict=True)


def _as(x: Any, dtype: torch.dtype) -> Any:
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


def _pooled(pool: nn.Module, unpool: nn.Module, *shape: int) -> tuple:
    values, index = pool(torch.randn(*shape))
    return unpool, values, index


class _Targets(nn.Module):
    """AdaptiveLogSoftmaxWithLoss with its targets, which the softmax can't do without."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(4, 7, [2, 5], div_value=2.0, head_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.softmax(x, torch.tensor([0, 6, 3, 1])).loss


def _evaluated(module: nn.Module) -> nn.Module:
    return module.eval()


_BAG = torch.tensor([[0, 2, 2], [4, 1, 0]])
Make = Callable[[], tuple]
OURS: list[tuple[str, str, Make]] = [
    ("AdaptiveLogSoftmaxWithLoss", "three clusters", lambda: (_Targets(), torch.randn(4, 4))),
    *[
        (name, label, lambda name=name, mode=mode: (mode(getattr(nn, name)(0.4)), torch.randn(3, 4, *shape(name))))
        for name in ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")
        for label, mode in (("training", nn.Module.train), ("evaluation", _evaluated))
    ],
    ("RReLU", "training", lambda: (nn.RReLU(), torch.randn(3, 4))),
    ("RReLU", "evaluation", lambda: (_evaluated(nn.RReLU()), torch.randn(3, 4))),
    ("Hardsigmoid", "", lambda: (nn.Hardsigmoid(), 3 * torch.randn(3, 4))),
    ("Identity", "", lambda: (nn.Identity(), torch.randn(3, 4))),
    ("Flatten", "", lambda: (nn.Flatten(), torch.randn(2, 3, 4))),
    ("Unflatten", "", lambda: (nn.Unflatten(1, (2, 3)), torch.randn(4, 6))),
    ("ChannelShuffle", "", lambda: (nn.ChannelShuffle(2), torch.randn(2, 4, 3, 2))),
    ("PixelShuffle", "", lambda: (nn.PixelShuffle(2), torch.randn(2, 4, 3, 2))),
    ("PixelUnshuffle", "", lambda: (nn.PixelUnshuffle(2), torch.randn(2, 3, 4, 2))),
    ("Unfold", "", lambda: (nn.Unfold((2, 3), padding=1), torch.randn(2, 3, 4, 5))),
    ("Fold", "", lambda: (nn.Fold((3, 4), (2, 2)), torch.randn(2, 12, 6))),
    ("MaxUnpool1d", "", lambda: _pooled(nn.MaxPool1d(2, return_indices=True), nn.MaxUnpool1d(2), 2, 3, 6)),
    ("MaxUnpool2d", "", lambda: _pooled(nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2), 2, 3, 4, 6)),
    ("MaxUnpool3d", "", lambda: _pooled(nn.MaxPool3d(2, return_indices=True), nn.MaxUnpool3d(2), 2, 3, 2, 4, 4)),
    ("Upsample", "bilinear", lambda: (nn.Upsample(scale_factor=2, mode="bilinear"), torch.randn(2, 3, 2, 3))),
    ("UpsamplingBilinear2d", "", lambda: (nn.UpsamplingBilinear2d(scale_factor=2), torch.randn(2, 3, 2, 3))),
    ("UpsamplingNearest2d", "", lambda: (nn.UpsamplingNearest2d(scale_factor=2), torch.randn(2, 3, 2, 3))),
    *[
        ("EmbeddingBag", mode, lambda mode=mode: (nn.EmbeddingBag(5, 3, mode=mode, padding_idx=1), _BAG))
        for mode in ("sum", "mean", "max")
    ],
    ("CosineSimilarity", "", lambda: (nn.CosineSimilarity(), torch.randn(3, 4), torch.randn(3, 4))),
    ("PairwiseDistance", "", lambda: (nn.PairwiseDistance(), torch.randn(3, 4), torch.randn(3, 4))),
    ("CrossMapLRN2d", "", lambda: (nn.CrossMapLRN2d(11), torch.randn(2, 5, 3, 2))),
    ("SyncBatchNorm", "evaluation", lambda: (_evaluated(nn.SyncBatchNorm(3)), torch.randn(2, 3, 4))),
    ("TripletMarginLoss", "", lambda: (nn.TripletMarginLoss(), *torch.randn(3, 4, 5))),
    ("TripletMarginLoss", "swap", lambda: (nn.TripletMarginLoss(swap=True), *torch.randn(3, 4, 5))),
    ("TripletMarginWithDistanceLoss", "", lambda: (nn.TripletMarginWithDistanceLoss(), *torch.randn(3, 4, 5))),
    (
        "TransformerDecoder",
        "two layers",
        lambda: (
            nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 8, 0.1, batch_first=True), 2),
            torch.randn(2, 3, 4),
            torch.randn(2, 5, 4),
        ),
    ),
]


def shape(name: str) -> tuple[int, ...]:
    """The places that a feature dropout of this name needs behind batch and channels."""
    return {"Dropout1d": (5,), "Dropout2d": (3, 2), "Dropout3d": (2, 3, 2)}.get(name, ())

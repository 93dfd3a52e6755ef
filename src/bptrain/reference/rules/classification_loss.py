"""Losses of class scores: cross-entropy of one class in many, and of classes that are each yes or no.

The terms of a loss are kept, added or averaged as `loss_reduction` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bptrain.reference.rule import Case, Rule, case, sum_to
from bptrain.reference.rules.loss_reduction import reduced, reduction_name, term_gradient
from bptrain.reference.rules.sigmoid import log1p_exp, sigmoid
from bptrain.reference.rules.softmax import log_softmax


def _class_axis(x: Tensor) -> int:
    return min(x.dim() - 1, 1)


def _class_weights(x: Tensor, weight: Tensor | None) -> Tensor:
    """The weights of the C classes, 1 without any, in the shape that broadcasts against x: (C) or (1, C, 1, ...)."""
    axis = _class_axis(x)
    w = x.new_full((x.shape[axis],), 1.0) if weight is None else weight
    return w.reshape([-1 if i == axis else 1 for i in range(x.dim())])


def _one_hot(x: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """1 in each sample at its class, else 0, and 0 everywhere in an ignored sample: shaped as x, target without C."""
    axis = _class_axis(x)
    used = (target != ignore_index).unsqueeze(axis)  # (B, 1, *)
    index = torch.where(used, target.unsqueeze(axis), 0).to(torch.int64)  # (B, 1, *)
    return torch.zeros_like(x).scatter(axis, index, used.to(x.dtype))


def _by_class(x: Tensor, share: Tensor) -> Tensor:
    """-sum_c share_c x_c; a class without a share adds nothing, whatever its score (log 0 is -inf)."""
    return -torch.where(share == 0, 0, share * x).sum(_class_axis(x))  # (B, *)


_SHAPES = {"vector": (3,), "matrix": (4, 3), "one axis": (2, 3, 5), "two axes": (2, 3, 1, 4)}


def _index_cases() -> Iterable[Case]:
    """Shapes, class weights, an ignored sample and reductions, for targets that are class numbers."""
    weight = torch.tensor([0.3, 1.7, 0.6])
    for label, shape in _SHAPES.items():
        target = torch.randint(3, shape[:1] + shape[2:] if len(shape) > 1 else ())
        yield case(label, torch.randn(*shape), target)
    x, target = torch.randn(4, 3), torch.tensor([2, -1, 0, 2])
    for reduction in ("mean", "sum", "none"):
        label = f"weighted, {reduction}"
        yield case(label, x, target, weight, ignore_index=-1, reduction=reduction, constant=("weight",))


class CrossEntropy(Rule, functions=[F.cross_entropy], cancels=True):
    """l = -sum_c w_c q_c log p_c, with p = softmax(x) over the classes.

    x is (C), (B, C) or (B, C, *), and l is (), (B) or (B, *). The target is the number of a class, an integer without
    the axis C, or the probability of each, shaped as x. q is the target (1 at its class, else 0), smoothed by e:
    q = (1 - e) target + e / C. A sample whose class is ignore_index has q = 0. The mean divides by the sum of the w of
    the samples' classes, or by the number of samples where the target has probabilities.

    Derivation. With a_c = w_c q_c and log p_c = x_c - log sum_k exp(x_k), whose derivative by x_k is [c = k] - p_k,
        dx_k = dl (p_k sum_c a_c - a_k).
    For one class and no weights this is the well-known p - q. Of the target, where it has probabilities,
    dt_c = -dl (1 - e) w_c log p_c, and then dw_c = -sum over samples of dl q_c log p_c. Torch gives no gradient of
    the weights for class numbers.
    Source: Bridle, Neurocomputing (1990); label smoothing: Szegedy et al., CVPR 2016, section 7; F.cross_entropy.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        yield from _index_cases()
        weight = torch.tensor([0.3, 1.7, 0.6])
        for reduction in ("mean", "sum", "none"):
            x, index, shares = torch.randn(2, 3, 2), torch.tensor([[0, 2], [-100, 1]]), torch.rand(2, 3, 2)
            smooth = {"reduction": reduction, "label_smoothing": 0.2}
            yield Case(f"smoothed, {reduction}", (x, index, weight), smooth, constant=("weight",))
            yield Case(f"probabilities, {reduction}", (x, shares, weight), smooth)
        yield case("probabilities of a vector", torch.randn(3), torch.rand(3))
        masked = torch.tensor([[0.4, -torch.inf, 1.1], [800.0, -1.0, -torch.inf]])
        yield case("masked and large", masked, torch.tensor([0, 1]), smooth=False)

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> tuple[Tensor, Any]:
        axis = _class_axis(input)
        w = _class_weights(input, weight)
        total: Tensor | int
        if target.is_floating_point():
            given, used, total = target, torch.ones_like(target), input.numel() // input.shape[axis]
        else:
            given = _one_hot(input, target, ignore_index)  # (B, C, *)
            used, total = given.sum(axis, keepdim=True), (w * given).sum()  # (B, 1, *), ()
        q = (1 - label_smoothing) * given + label_smoothing / input.shape[axis] * used
        logp = log_softmax(input, axis)
        reduction = reduction_name(size_average, reduce, reduction)
        y = reduced(_by_class(logp, w * q), reduction, total)
        return y, (logp, w, q, target, weight, label_smoothing, reduction, total)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        logp, w, q, target, weight, label_smoothing, reduction, total = cache
        axis = _class_axis(logp)
        dl = term_gradient(dy, reduction, total)
        dl = dl.unsqueeze(axis) if dl.dim() else dl  # (B, 1, *)
        a = w * q
        dinput = dl * (torch.exp(logp) * a.sum(axis, keepdim=True) - a)
        if not target.is_floating_point():
            return dinput, None
        dtarget = -dl * (1 - label_smoothing) * w * logp
        dweight = None if weight is None else sum_to(-dl * q * logp, w.shape).reshape(weight.shape)
        return dinput, dtarget, dweight


class NLLLoss(Rule, functions=[F.nll_loss], cancels=True):
    """l = -w_t x_t, with x (C), (B, C) or (B, C, *) the logarithms of probabilities and t the number of a class.

    0 where t is ignore_index. The mean divides by the sum of the w_t.
    Derivation. dx_c = -dl w_c where c = t, else 0. Torch gives no gradient of the weights.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        return _index_cases()

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        share = _class_weights(input, weight) * _one_hot(input, target, ignore_index)  # (B, C, *)
        reduction = reduction_name(size_average, reduce, reduction)
        total = share.sum()
        return reduced(_by_class(input, share), reduction, total), (share, reduction, total)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> Tensor:
        share, reduction, total = cache
        dl = term_gradient(dy, reduction, total)
        return -share * (dl.unsqueeze(_class_axis(share)) if dl.dim() else dl)


class BinaryCrossEntropy(Rule, functions=[F.binary_cross_entropy], inexact=1e-7, cancels=True):
    """l = -w (t log x + (1 - t) log(1 - x)), with x in [0, 1], t and l (*), and w broadcast; log is cut off at -100.

    Derivation. dx = dl w (x - t) / (x (1 - x)) and dt = dl w (log(1 - x) - log x). Conventions of torch at the
    ends: the denominator is at least 1e-12 (a float32 in its kernel), also where the cut-off log is flat, so that dx
    is finite; dt takes the log that is not cut off. Torch gives no gradient of w.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        for reduction in ("mean", "sum", "none"):
            x, t = torch.rand(2, 3) * 0.9 + 0.05, torch.rand(2, 3)
            yield case(reduction, x, t, reduction=reduction)
        yield case("weight", x, t, torch.rand(3), constant=("weight",))
        ends = torch.tensor([0.0, 1.0, 0.0, 1.0, 1e-13]), torch.tensor([1.0, 0.0, 0.0, 1.0, 0.3])
        yield case("ends", *ends, smooth=False)

    @staticmethod
    def contract(input: Tensor, *args: Any, **kwargs: Any) -> str:
        end = bool((input * (1 - input) < 1e-12).any())
        return "x (1 - x) counts as 1e-12 at the ends, also where the cut-off log is flat" if end else ""

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, Any]:
        yes, no = torch.log(input), torch.log1p(-input)
        terms = -target * yes.clamp(min=-100) - (1 - target) * no.clamp(min=-100)
        w = 1.0 if weight is None else weight
        reduction = reduction_name(size_average, reduce, reduction)
        return reduced(w * terms, reduction, terms.numel()), (input, target, yes, no, w, reduction)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        input, target, yes, no, w, reduction = cache
        dl = term_gradient(dy, reduction, input.numel()) * w
        return dl * (input - target) / (input * (1 - input)).clamp(min=1e-12), dl * (no - yes)


class BinaryCrossEntropyWithLogits(Rule, functions=[F.binary_cross_entropy_with_logits], cancels=True):
    """l = -w (k t log p + (1 - t) log(1 - p)), with p = sigmoid(x); x, t and l (*), w and k (`pos_weight`) broadcast.

    With log p = -softplus(-x) and log(1 - p) = -x - softplus(-x), where softplus(x) = log(1 + exp(x)),
        l = w ((1 - t) x + (1 + (k - 1) t) softplus(-x)),
    which neither overflows nor cancels.

    Derivation. softplus'(-x) = p - 1 by x, so dx = dl w (1 - t - (1 + (k - 1) t) (1 - p)), which is w (p - t) for
    k = 1; dt = dl w ((k - 1) softplus(-x) - x). Torch gives no gradient of w and k.
    """

    @staticmethod
    def cases() -> Iterable[Case]:
        for reduction in ("mean", "sum", "none"):
            yield case(reduction, 2 * torch.randn(2, 3), torch.rand(2, 3), reduction=reduction)
        weight, k = torch.rand(2, 1), torch.tensor([0.4, 1.0, 2.5])
        x, t = torch.randn(2, 3), torch.rand(2, 3)
        yield case("weights", x, t, weight, pos_weight=k, constant=("weight", "pos_weight"))
        yield case("large", torch.tensor([-800.0, 0.0, 800.0]), torch.tensor([1.0, 0.0, 0.3]))

    @staticmethod
    def forward(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        w = 1.0 if weight is None else weight
        extra = 0.0 if pos_weight is None else pos_weight - 1
        softplus = log1p_exp(-input)
        terms = w * ((1 - target) * input + (1 + extra * target) * softplus)
        reduction = reduction_name(size_average, reduce, reduction)
        return reduced(terms, reduction, terms.numel()), (input, target, w, extra, softplus, reduction)

    @staticmethod
    def backward(cache: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        input, target, w, extra, softplus, reduction = cache
        dl = term_gradient(dy, reduction, input.numel()) * w
        dinput = dl * (1 - target - (1 + extra * target) * sigmoid(-input))
        return dinput, dl * (extra * softplus - input)

"""Every rule on each of its cases: values, gradients against autograd, gradients against differences."""

import pytest
import torch
from torch.utils._pytree import tree_flatten, tree_map

from bptrain.reference.dtype import cast, inner, is_continuous
from bptrain.reference.elementary import Elementary
from bptrain.reference.rule import Rule, all_rules, bind, run_backward, run_forward


def calls():
    for rule in all_rules():
        torch.manual_seed(0)
        cases = list(rule.cases())
        assert cases, f"{rule.__name__} has no cases"
        named = {case.function for case in cases if case.function is not None}
        for i, case in enumerate(cases):
            functions = [case.function or rule.functions[0]]
            if i == 0 and case.function is None:
                functions += [f for f in rule.functions[1:] if f not in named]
            for function in functions:
                name = getattr(function, "__name__", str(function))
                yield pytest.param(rule, function, case, id=f"{rule.__name__}-{name}-{case.label}")


def double(tree):
    return tree_map(lambda t: cast(t, torch.float64) if isinstance(t, torch.Tensor) else t, tree)


def call(rule: type[Rule], function, case):
    """The torch call in float64: its result, the inputs that have gradients, and the rule's own view of the call."""
    args, kwargs = double(case.args), double(case.kwargs)
    originals = bind(rule, args, kwargs)
    flat = tree_flatten([value for name, value in originals.items() if name not in case.constant])[0]
    inputs = [t.requires_grad_() for t in flat if isinstance(t, torch.Tensor) and is_continuous(t)]
    state = torch.get_rng_state()
    # Clones, because an in-place function may not write into a leaf nor into the arguments of the rule.
    fresh_args, fresh_kwargs = tree_map(lambda t: t.clone() if isinstance(t, torch.Tensor) else t, (args, kwargs))
    y = (function.apply if isinstance(function, type) else function)(*fresh_args, **fresh_kwargs)
    if y is None:  # of a setter: its result is what it wrote to
        y = fresh_args[0]

    def again(*other_args, function=function, **other_kwargs):
        with torch.random.fork_rng(devices=[]), torch.utils._python_dispatch._disable_current_modes():
            torch.set_rng_state(state)
            return function(*other_args, **other_kwargs)

    bound = tree_map(lambda t: t.detach().clone() if isinstance(t, torch.Tensor) else t, originals)
    return y, inputs, originals, bound, again


def cotangent(y):
    """Random numbers, none 0, that a cast to any floating dtype leaves as they are; zeros for an integer."""
    if y.is_complex():
        return torch.complex(cotangent(y.real), cotangent(y.imag))
    if not y.is_floating_point():
        return torch.zeros_like(y)
    return (2 * torch.randint(-8, 8, y.shape, device=y.device) + 1).to(y.dtype) / 8


def tensors(tree):
    return [t for t in tree_flatten(tree)[0] if isinstance(t, torch.Tensor)]


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # and an odd number of zeros, which is one of the cases
@pytest.mark.filterwarnings("ignore:torch.* is deprecated")  # old spellings, which have rules too
@pytest.mark.filterwarnings("ignore:index_reduce.* is in beta")
@pytest.mark.parametrize(("rule", "function", "case"), list(calls()))
def test_rule_equals_torch_and_differences(rule, function, case):
    torch.manual_seed(1)
    y, inputs, originals, bound, again = call(rule, function, case)
    reference, cache = run_forward(rule, bound, again)
    for ours, theirs in zip(tensors(reference), tensors(y), strict=True):
        assert ours.shape == theirs.shape
        assert not is_continuous(ours) or ours.dtype.to_real() == torch.float64, (
            "the reference stays in the dtype it runs in"
        )
        torch.testing.assert_close(ours, theirs.detach().to(ours.dtype), rtol=1e-10, atol=1e-12)

    dy = tree_map(cotangent, reference)
    outputs = [(t, d) for t, d in zip(tensors(y), tensors(dy), strict=True) if t.requires_grad]
    assert outputs, "no output has a gradient"
    theirs = torch.autograd.grad(
        [t for t, _ in outputs], inputs, [d.to(t.dtype) for t, d in outputs], allow_unused=True
    )
    expected = dict(zip(map(id, inputs), theirs, strict=True))
    gradients = run_backward(rule, cache, dy)
    compared = 0
    for name, value in originals.items():
        ours = gradients.get(name)
        flat_ours = tree_flatten(ours, is_leaf=lambda x: x is None)[0] if isinstance(ours, (list, tuple)) else [ours]
        for i, tensor in enumerate(t for t in tree_flatten(value)[0] if isinstance(t, torch.Tensor)):
            theirs = expected.get(id(tensor))
            mine = flat_ours[i] if i < len(flat_ours) else None
            if theirs is None:
                assert mine is None or not mine.any(), f"{name}: torch has no gradient here"
                continue
            assert mine is not None, f"{name}: the rule gives no gradient"
            assert mine.shape == theirs.shape
            torch.testing.assert_close(mine, theirs, rtol=max(1e-9, rule.inexact), atol=1e-11)
            compared += 1
            if case.smooth:
                _differences(rule, bound, name, i, again, dy, mine)
    assert compared, "no gradient was compared"


def _differences(rule, bound, name, position, again, dy, gradient, h=1e-4):
    """The directional derivative of the rule's forward by five points, against its own backward."""
    direction = torch.randn_like(gradient)
    total = 0.0
    for weight, k in ((1, -2), (-8, -1), (8, 1), (-1, 2)):
        flat = tensors(bound[name])
        old = flat[position].clone()
        flat[position].copy_(old + k * h * direction)
        y, _ = run_forward(rule, bound, again)  # may be a view of the argument
        total += weight * sum(inner(a, b) for a, b in zip(tensors(y), tensors(dy), strict=True))
        flat[position].copy_(old)
    torch.testing.assert_close(total / (12 * h), inner(gradient, direction), rtol=1e-6, atol=1e-8)


def test_a_rule_may_not_call_a_kernel_that_does_its_work():
    with Elementary(), pytest.raises(AssertionError, match="not an elementary operation"):
        torch.nn.functional.softmax(torch.ones(3), 0)
    with Elementary(), pytest.raises(AssertionError, match="backward"):
        torch.ops.aten.tanh_backward(torch.ones(3), torch.ones(3))


def test_one_function_can_not_have_two_rules():
    with pytest.raises(TypeError, match="two rules"):

        class Second(Rule, functions=[torch.nn.functional.linear]):
            pass

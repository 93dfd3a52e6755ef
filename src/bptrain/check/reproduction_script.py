"""The script of a reproduction, with a place for each thing that depends on the call."""

SCRIPT = '''\
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.utils._pytree import tree_leaves

saved = load_file(Path(__file__).with_name("tensors.safetensors"))
{restored}inputs = [{inputs}]
dy = {dy}  # the gradient that came back to each output
wrong = {wrong}  # input: its name, and how far off its gradient may be


def call_again(x):
{draws}    {call}
    return [t for t in tree_leaves(y) if isinstance(t, torch.Tensor)]


def in_double(t):
    return t.to(torch.promote_types(t.dtype, torch.float64)) if t.is_floating_point() or t.is_complex() else t.clone()


def along(a, b):
    return (in_double(a).conj() * in_double(b)).real.sum().item()


def difference(i, direction):
    """The slope of <dy, outputs> as input i moves along a direction: five-point central differences in float64."""

    def at(t):
        x = [in_double(v.detach()).clone() for v in inputs]
        x[i] += t * direction
        with torch.no_grad():
            y = call_again(x)
        return sum(along(y[p], g) for p, g in dy.items())

    h = 1e-5 * max(1.0, inputs[i].detach().abs().max().item()) / direction.abs().max().item()
    return (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h)


for i in wrong:
    inputs[i].requires_grad_()
{forward}
torch.autograd.backward([outputs[p] for p in dy], list(dy.values()))

status = 0
for i, (name, tolerance) in wrong.items():
    expected, direction, found = saved[f"expected {{i}}"], saved[f"direction {{i}}"], inputs[i].grad
    found = torch.zeros_like(expected) if found is None else in_double(found.to_dense())
    a, d, e = along(direction, found), difference(i, direction), along(direction, expected)
    note = "" if abs(d - e) <= 3 * tolerance else "  (no judge at a kink, under other draws, or of a contract)"
    print(f"The gradient of {{name}}, along the direction in which autograd was off:")
    print(f"  autograd     {{a:.9g}}\\n  expected     {{e:.9g}}\\n  differences  {{d:.9g}}{{note}}")
    if abs(a - e) <= tolerance and (found - expected).norm() <= 20 * tolerance:
        print("Autograd is right.")
    else:
        status = 1
        print("Autograd is off by " + (f"a factor {{a / e or 0.0:.7g}}." if abs(e) > tolerance else f"{{a - e:.3g}}."))
sys.exit(status)
'''

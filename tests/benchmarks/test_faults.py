"""Every planted fault is found and blamed on its own place, and no honest twin is accused."""

import re
import sys

import gradcheck
import pytest
import torch
from checkers import Function, fast, projection, slow

import bptrain
from faults import FAULTS, KINDS

ALL = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
BY_NAME = {fault.name: fault for fault in FAULTS}


@ALL
def test_a_planted_fault_is_found_and_nothing_else_is_blamed(fault):
    report = bptrain.check_gradients(fault.build(True), fault.inputs, strict=True)
    assert not report.ok or report.wiring  # a way that was cut off in part may be meant: it is told
    assert fault.blamed(report), report


@ALL
def test_an_honest_twin_is_verified(fault):
    report = bptrain.check_gradients(fault.build(False), fault.inputs, strict=True)
    assert report.verdict == "verified", report
    assert not report.wiring


@ALL
def test_a_fault_is_in_the_gradients_alone(fault):
    outputs = []
    for faulty in (True, False):
        network = fault.build(faulty)
        torch.manual_seed(0)
        outputs.append(network(fault.inputs))
    torch.testing.assert_close(*outputs)  # NumPy's tanh is another one


def test_blame_is_for_one_call_at_the_right_line_and_in_the_right_module():
    stale = BY_NAME["StaleMask"]  # wrong in the first of two calls of one Function
    assert not stale.blamed(bptrain.check_gradients(stale.build(False), stale.inputs))
    assert not BY_NAME["OtherSign"].blamed(bptrain.check_gradients(stale.build(True), stale.inputs))
    layers = stale.build(True)
    first, second = layers[:2], torch.nn.Sequential(torch.nn.Identity(), *layers)
    assert not stale.blamed(bptrain.check_gradients(second, stale.inputs))  # right, but in another place
    assert not stale.blamed(bptrain.check_gradients(first, stale.inputs))


@pytest.mark.parametrize("name", ["OtherSign", "SoftmaxWithoutSum", "KernelFlipped", "HookDoubles"])
@pytest.mark.parametrize("tool", [slow, fast, projection])
def test_the_other_checks_find_a_coarse_fault_and_accuse_no_honest_twin(tool, name):
    fault = BY_NAME[name]
    assert tool(Function(fault.build(True), fault.inputs, torch.float64))
    assert not tool(Function(fault.build(False), fault.inputs, torch.float64))


def test_gradcheck_does_not_see_a_zero_gradient_of_little():
    fault = BY_NAME["AllZeroOfLittle"]
    assert not slow(Function(fault.build(True), fault.inputs, torch.float64))


def test_a_function_counts_its_passes():
    fault = BY_NAME["OtherSign"]
    function = Function(fault.build(False), fault.inputs, torch.float64)
    projection(function)
    assert function.passes == {"forward": 3, "backward": 1}


@pytest.mark.slow
def test_the_benchmark_prints_all_three_tables(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gradcheck.py", "--quick"])
    gradcheck.main()
    shown = capsys.readouterr().out
    assert re.search(
        rf"^  {len(KINDS)} +{len(KINDS)} .*found, of {len(KINDS)}; bptrain: {len(KINDS)} yes$", shown, re.MULTILINE
    )
    assert re.search(r"^  0 .*honest twins accused$", shown, re.MULTILINE)
    assert re.search(r"^  bptrain, float32 +1 +\d+ +0$", shown, re.MULTILINE)
    assert re.search(r"^  mlp 16 +778 .*\(2\+2\)", shown, re.MULTILINE)

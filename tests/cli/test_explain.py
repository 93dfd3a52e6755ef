"""`bptrain explain`: one step, told call by call with the numbers of the hand-written backprop."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from bptrain.cli.main import main
from bptrain.config.compose import compose, settings_of
from bptrain.train.order import permutation
from bptrain.train.run import build

TINY = ["data=iris", "model.sizes=[3]", "model.activation=tanh", "optimizer=sgd", "optimizer.lr=0.1"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys, *words):
    assert main(["explain", *words]) == 0
    return capsys.readouterr().out


def values(told, name):
    return np.array(told[name]["values"])


def test_every_matrix_product_of_a_step_equals_that_of_numpy(capsys):
    step = json.loads(told(capsys, *TINY, "rows=4", "--format", "json"))
    products = [call for call in step["forward"] if call["function"] == "torch.nn.functional.linear"]
    assert [call["path"] for call in products] == ["layers.0.linear", "head"]
    for call in products:
        x, w, b = (values(call["inputs"], name) for name in ("x", "weight", "bias"))
        np.testing.assert_allclose(values(call["outputs"], "y"), x @ w.T + b, rtol=0, atol=1e-12)
    backward = [call for call in step["backward"] if call["function"] == "torch.nn.functional.linear"]
    assert [call["path"] for call in backward] == ["head", "layers.0.linear"]
    for call, forward in zip(backward, reversed(products), strict=True):
        dy, x, w = values(call["received"], "dy"), values(forward["inputs"], "x"), values(forward["inputs"], "weight")
        np.testing.assert_allclose(values(call["gradients"], "dx"), dy @ w, rtol=0, atol=1e-12)
        np.testing.assert_allclose(values(call["gradients"], "dweight"), dy.T @ x, rtol=0, atol=1e-12)


def test_the_gradients_are_those_of_autograd_and_the_weights_those_of_torch_optim(capsys):
    words = [*TINY, "optimizer.momentum=0.9", "optimizer.weight_decay=0.1", "fit.clip=0.05"]
    step = json.loads(told(capsys, *words, "rows=4", "--format", "json"))
    run = build(settings_of(compose(words)))
    part = run.dataset.parts["train"]
    rows = permutation(len(part), 0, 0)[:4]
    model = run.state.model.double()
    loss = nn.functional.cross_entropy(model(part.inputs[rows].double()), part.targets[rows])
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.05)
    assert step["loss"] == pytest.approx(loss.item(), abs=1e-12)
    assert step["optimizer"]["clip"] == pytest.approx(0.05 / (norm.item() + 1e-6))
    assert step["largest_difference_from_autograd"] < 1e-12
    gradients = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
    torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=0.1).step()
    assert step["parameters"].keys() == gradients.keys()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(step["parameters"][name]["gradient"], gradients[name], rtol=0, atol=1e-12)
        np.testing.assert_allclose(step["parameters"][name]["new"], parameter.detach().numpy(), rtol=0, atol=1e-12)


def test_the_text_tells_the_four_parts_in_their_order_and_every_small_number(capsys, folder):
    out = told(capsys, *TINY, "rows=2")
    heads = ["Forward propagation of 2 rows", "Error", "Backward propagation", "Weight adjustment by SGD"]
    places = [out.index(head) for head in heads]
    assert places == sorted(places)
    assert "y = x W^T + b" in out
    assert "dW_oi = sum_rows dy_o x_i" in out
    assert "w' = w - lr d" in out
    assert "weight (3, 4) = [[" in out
    assert "(32, 4) from " in told(capsys, *TINY)  # too many to be shown
    assert not list(folder.iterdir())


def test_input_true_shows_the_gradient_with_respect_to_the_input_as_a_picture(capsys):
    words = ["experiment=digits_cnn", "rows=3"]
    assert "with respect to the input" not in told(capsys, *words)
    out = told(capsys, *words, "input=true")
    picture = out[out.index("with respect to the input") :].splitlines()
    assert [line.strip() for line in picture if "row" in line] == ["row 0", "row 1", "row 2"]
    lines = [line for line in picture if set(line.strip()) & set("░▒▓█")]
    assert len(lines) == 3 * 8
    step = json.loads(told(capsys, *words, "input=true", "--format", "json"))
    assert np.array(step["input"]["gradient"]).shape == np.array(step["input"]["value"]).shape == (3, 1, 8, 8)
    first = next(call for call in step["backward"] if call["path"] == "layers.0.conv")
    np.testing.assert_array_equal(values(first["gradients"], "dinput"), step["input"]["gradient"])


def test_json_of_too_many_numbers_is_refused_before_any_is_printed(capsys):
    large = ["data=iris", "model.sizes=[800,600]"]  # five times 480,000 weights and gradients
    for words, cure in ((large, "Write rows=2, or a smaller model"), ([*large, "rows=2"], "Write a smaller model")):
        assert main(["explain", *words, "--format", "json"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert f"takes 2,000,000 at the most. {cure}; text and html give" in err
        assert "weight (600, 800) from" in told(capsys, *words)


def test_html_is_a_page_without_scripts_and_with_all_text_escaped(capsys):
    page = told(capsys, *TINY, "rows=2", "--format", "html")
    assert page.startswith("<!DOCTYPE html>")
    assert "<script" not in page
    assert "Weight adjustment" in page
    assert "-&gt; y (2, 3)" in page


def test_an_optimizer_that_searches_along_a_line_says_so(capsys):
    out = told(capsys, *TINY[:-1], "optimizer=lbfgs", "rows=2")
    assert "several evaluations of the loss" in out
    assert "new (" not in out


@pytest.mark.parametrize(
    "words, said",
    [
        (["rows=0"], "rows: is '0'"),
        (["rows=many"], "rows: is 'many'"),
        (["rows=33"], "rows: the first batch has 32. Write rows=32 or fewer."),
        (["input=perhaps"], "input: is 'perhaps'"),
        (["rows=1", "model.norm=batch"], "rows: the model can't take 1"),
        (["--format", "xml"], "--format"),
        (["model.size=[3]"], "model.size"),
    ],
)
def test_a_wrong_request_is_one_message_and_exit_2(capsys, words, said):
    assert main(["explain", *TINY, *words]) == 2
    assert said in capsys.readouterr().err


def test_format_is_for_explain_alone(capsys):
    assert main(["check", "--format", "json"]) == 2
    assert "is for explain, not for check" in capsys.readouterr().err

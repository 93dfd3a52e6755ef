"""Keys that a preset sets and another choice has not: the file is named, and how to leave them out."""

import pytest

from bptrain.config.compose import compose, settings_of
from bptrain.config.tree import config_root
from bptrain.errors import RequestError


def problems(*words, folder=None):
    with pytest.raises(RequestError) as caught:
        settings_of(compose([*words], folder))
    return {problem.where: str(problem) for problem in caught.value.problems}


def test_all_keys_that_a_preset_sets_and_another_choice_has_not_are_said_with_its_file_and_the_cure():
    words = ["experiment=digits_vae", "optimizer=cg", "data=iris"]
    said = problems(*words)
    assert said.keys() == {"optimizer.lr", "data.binarize"}
    for where, text in said.items():
        assert f"and {config_root() / 'experiment' / 'digits_vae.yaml'} sets it. Add ~{where} to the command" in text
    assert settings_of(compose([*words, *(f"~{where}" for where in said)])).optimizer.name == "cg"


def test_a_key_of_the_command_line_is_not_blamed_on_a_file():
    said = problems("experiment=digits_vae", "optimizer=cg", "optimizer.lr=1", "fit.epohs=3")
    assert said.keys() == {"optimizer.lr", "fit.epohs"}
    assert not any("yaml" in text or "~" in text for text in said.values())


def test_a_key_of_a_file_of_the_user_is_named_with_it(tmp_path):
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "own.yaml"
    file.write_text("# @package _global_\nmodel: {activation: {slpe: null}, sizes: [3]}\nfit: {epohs: 1}\n")
    said = problems("experiment=own", folder=str(tmp_path))
    assert said.keys() == {"model.activation.slpe", "fit.epohs"}
    assert all(f"and {file} sets it" in text for text in said.values())
    assert said["fit.epohs"].endswith("Did you mean 'epochs'?")

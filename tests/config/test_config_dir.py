"""Folders of configs of the user's own: what is taken from them, and what is said of a file that is none."""

import pytest

from bptrain.config.compose import compose, settings_of
from bptrain.errors import RequestError


def test_a_folder_of_the_user_comes_first(tmp_path):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "experiment").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("name: sgd\nlr: 0.5\n")
    (tmp_path / "optimizer" / "adam.yaml").write_text("name: adam\nlr: 0.25\n")
    (tmp_path / "experiment" / "own.yaml").write_text("# @package _global_\nname: own\nseed: 3\n")
    assert settings_of(compose(["optimizer=mine"], str(tmp_path))).optimizer.lr == 0.5
    assert settings_of(compose(["experiment=own"], str(tmp_path))).seed == 3
    assert settings_of(compose([], str(tmp_path))).optimizer.lr == 0.25
    (tmp_path / "small.yaml").write_text("defaults:\n  - train\n  - _self_\nfit:\n  epochs: 2\n")
    assert settings_of(compose([], str(tmp_path), "small")).fit.epochs == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", ["broken"]),
        ("name: adam\nname: sgd\nlr: 1\n", ["broken", "duplicate"]),
        ("defaults: 3\n", ["broken"]),
        ("- 1\n", ["optimizer"]),
        ("", ["optimizer"]),
        ("_target_: os.system\n", ["optimizer"]),
        ("name: adam\n\tlr: 1\n", ["broken.yaml:2", "is no YAML"]),
        ("name: adam\nlr: |x\n", ["broken.yaml:2", "is no YAML"]),
        ("name: adam\nlr: !!bool 3\n", ["broken.yaml", "not what its tag says"]),
        ("name: adam\nlr: !!timestamp x\n", ["broken.yaml", "not what its tag says"]),
        ("name: adam\nlr: 2020-99-99\n", ["broken.yaml", "can't be read: month must be"]),
        ("name: adam\nnull: 3\n", ["broken.yaml", "the key None", "no text"]),
        ("defaults: [[a]]\nname: adam\n", ["broken.yaml", "defaults that can't be read"]),
        ("defaults: [{a: b, c: d}]\nname: adam\n", ["broken.yaml", "defaults that can't be read"]),
        ("defaults: [/../../optimizer/adam]\nname: adam\n", ["../../optimizer/adam", "outside of the folder"]),
        ("name: adam\n" + "".join(f"k{i}: 1\n" for i in range(1_400)), ["optimizer.k0", "and 1390 more"]),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path, text, words):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "broken.yaml").write_text(text)
    with pytest.raises(RequestError) as caught:
        settings_of(compose(["optimizer=broken"], str(tmp_path)))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name: own\n", ["own.yaml:1", "# @package _global_"]),
        ("# @package _global_\ndefaults: [model: cnn]\n", ["own.yaml", "'- override /model: cnn'"]),
        ("# @package _global_\ndefaults: [/model: cnn]\n", ["own.yaml", "'- override /model: cnn'"]),
        ("# @package _global_\ndefaults: [own]\n", ["own.yaml", "takes itself in"]),
        ("# @package _global_\ndefaults: [other]\n", ["own.yaml", "takes in itself"]),
        ("# @package _global_\nname: &a [*a]\n", ["own.yaml:2", "alias"]),
        ("# @package _global_\nhydra: {run: {dir: x}}\n", ["hydra.run.dir", "no hydra node", "name="]),
        ("# @package _global_\nhydra: {launcher: {n_jobs: 2}}\n", ["hydra.launcher.n_jobs", "no hydra node", "-m"]),
        ("# @package _global_\nhydra: {}\n", ["hydra: ", "no hydra node"]),
        ("# @package _global_\ndefaults: [override /hydra/launcher: joblib]\n", ["'hydra/launcher'", "no hydra node"]),
        ("# @package _global_\ndefaults: [/hydra/sweeper: optuna]\n", ["'hydra/sweeper/optuna'", "no hydra node"]),
        ("3\n", ["own.yaml", "no mapping"]),
        ("[a, b]\n", ["own.yaml", "no mapping"]),
        ("name: r\xe9d\n".encode("latin-1"), ["own.yaml", "UTF-8"]),
    ],
)
def test_a_preset_that_does_not_do_what_it_seems_to_is_one_message(tmp_path, content, words):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "experiment" / "other.yaml").write_text("# @package _global_\ndefaults: [own]\n")
    with pytest.raises(RequestError) as caught:
        settings_of(compose(["experiment=own"], str(tmp_path)))
    assert len(caught.value.problems) == 1
    for word in words:
        assert word in str(caught.value)


def test_a_start_with_a_hydra_node_or_of_another_kind_is_refused(tmp_path):
    (tmp_path / "own.yaml").write_text("defaults: [train, _self_]\nhydra: {job: {chdir: true}}\n")
    with pytest.raises(RequestError, match=r"hydra.job.chdir: bptrain has no hydra node"):
        compose([], str(tmp_path), "own")
    (tmp_path / "own.yaml").write_text("[train]\n")
    with pytest.raises(RequestError, match=r"own.yaml: is no mapping"):
        compose([], str(tmp_path), "own")


def test_files_that_take_in_each_other_again_and_again_are_refused(tmp_path):
    (tmp_path / "experiment").mkdir()
    for i in range(30):  # a billion visits in all
        text = f"# @package _global_\ndefaults: [e{i + 1}, e{i + 1}@x{i}]\n"
        (tmp_path / "experiment" / f"e{i}.yaml").write_text(text)
    (tmp_path / "experiment" / "e30.yaml").write_text("# @package _global_\nseed: 3\n")
    with pytest.raises(RequestError, match="is taken in too often"):
        compose(["experiment=e0"], str(tmp_path))


def test_a_start_without_self_in_its_defaults_is_taken_as_it_is(tmp_path, capsys):
    (tmp_path / "own.yaml").write_text("defaults: [train]\nseed: 3\n")
    assert settings_of(compose([], str(tmp_path), "own")).seed == 3
    assert not capsys.readouterr().err


def test_a_missing_folder_or_start_is_named(tmp_path):
    with pytest.raises(RequestError, match="no folder ''"):
        compose([], "")
    with pytest.raises(RequestError, match="there is no ''"):
        compose([], None, "")
    with pytest.raises(RequestError, match="no folder"):
        compose([], str(tmp_path / "nowhere"))
    with pytest.raises(RequestError, match="Did you mean 'train'"):
        compose([], None, "trian")

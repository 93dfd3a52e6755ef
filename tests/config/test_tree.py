"""Every file of the configs tree composes, validates, builds and takes one step."""

from dataclasses import fields

import pytest
import torch

from bptrain.config.compose import compose, settings_of
from bptrain.config.tree import Tree, config_root
from bptrain.train.fit import fit
from bptrain.train.record import Checked, Stepped
from bptrain.train.run import build

FILES = sorted(path.relative_to(config_root()).with_suffix("").as_posix() for path in config_root().rglob("*.yaml"))

# What a file needs beside it to make a whole run.
NEEDS = {
    "data/diabetes": ["loss=mse"],
    "model/custom": [
        "data=iris",
        "model.path=torch.nn:Linear",
        "trust=torch.nn",
        "model.arguments={in_features: 4, out_features: 3}",
    ],
    "loss/mse": ["data=diabetes"],
    "loss/l1": ["data=diabetes"],
    "loss/huber": ["data=diabetes"],
    "model/activation/softmax2d": ["model=cnn"],
}


def overrides(file, folder):
    group, _, option = file.rpartition("/")
    if file == "data/csv":
        rows = [f"{i % 7},{'ab'[i % 2]},{i % 3 - 1.5}" for i in range(60)]
        (folder / "my.csv").write_text("x,kind,y\n" + "\n".join(rows) + "\n")
        return ["data=csv", f"data.path={folder / 'my.csv'}", "data.target=kind"]
    return [f"{group}={option}", *NEEDS.get(file, [])] if group else []


def test_the_tree_has_all_its_files():
    groups = {group: len(Tree.of(None).options(group)) for group in Tree.of(None).groups()}
    assert groups == {
        "model": 6,
        "model/activation": 29,
        "data": 7,
        "loss": 5,
        "optimizer": 7,
        "scheduler": 5,
        "fit": 1,
        "check": 1,
        "experiment": 8,
    }
    assert len(FILES) == sum(groups.values()) + 1


@pytest.mark.parametrize("file", FILES)
def test_it_composes_validates_builds_and_takes_a_verified_step(file, tmp_path):
    settings = settings_of(compose([*overrides(file, tmp_path), "check.rows=6", "check.strict=true", "threads=1"]))
    run = build(settings)
    records = fit(run)
    checked, stepped = next(records), next(records)
    assert isinstance(checked, Checked)
    assert checked.report.verdict == "verified", checked.report
    assert isinstance(stepped, Stepped)
    assert stepped.loss.isfinite()
    assert all(parameter.isfinite().all() for parameter in run.state.model.parameters())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("experiment/")])
def test_a_preset_says_how_to_run_it_and_what_to_expect(file):
    package, command, expect = (config_root() / f"{file}.yaml").read_text().splitlines()[:3]
    name = file.split("/")[1]
    assert package == "# @package _global_"  # Hydra wants it first
    assert f"bptrain experiment={name}" in command
    assert expect.startswith("# Expect")
    assert settings_of(compose([f"experiment={name}"])).name == name


def test_every_key_of_the_settings_stands_in_the_tree():
    """So that `key=value` works for each of them, and `--cfg job` shows them all."""
    resolved = compose([]).resolved
    settings = settings_of(compose([]))
    assert set(resolved) == {field.name for field in fields(settings)}
    for group in ("fit", "check"):
        assert set(resolved[group]) == {field.name for field in fields(getattr(settings, group))}
    assert set(resolved["fit"]["checkpoint"]) == {field.name for field in fields(settings.fit.checkpoint)}

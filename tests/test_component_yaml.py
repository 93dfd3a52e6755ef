"""The YAML of each model, activation, loss, optimizer and scheduler says what its dataclass says."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bptrain.config.component import components
from bptrain.config.read import read_component

CONFIGS = Path(__file__).parents[1] / "configs"
GROUPS = ("model", "model/activation", "model/kernel", "loss", "optimizer", "scheduler")
FILES = [
    pytest.param(group, path, id=f"{group}={path.stem}")
    for group in GROUPS
    for path in (CONFIGS / group).glob("*.yaml")
]
GIVEN = {"custom": {"path": "my.module:Net"}}  # settings that have no default


def load(path):
    """The mapping in a file, the components of its defaults list by name, and what must be given."""
    node = OmegaConf.to_container(OmegaConf.load(path))
    for entry in node.pop("defaults", []):
        node |= entry if isinstance(entry, dict) else {}
    missing = {key for key, value in node.items() if value == "???"}
    assert missing == set(GIVEN.get(path.stem, {}))
    return node | GIVEN.get(path.stem, {})


@pytest.mark.parametrize(("group", "path"), FILES)
def test_a_yaml_has_every_setting_at_its_default(group, path):
    node = load(path)
    component = components(group)[path.stem]
    assert node.keys() - {"name"} == {field.name for field in dataclasses.fields(component)}
    problems = []
    assert read_component(group, node, group, problems) == component(**GIVEN.get(path.stem, {}))
    assert not problems


@pytest.mark.parametrize(("group", "path"), FILES)
def test_every_setting_in_a_yaml_is_explained(group, path):
    lines = path.read_text().splitlines()
    settings = lines[lines.index("  - _self_") + 1 :] if "defaults:" in lines else lines
    assert all("  # " in line for line in settings if line and not line.startswith("#"))


@pytest.mark.parametrize("group", GROUPS)
def test_every_component_has_a_yaml(group):
    assert components(group).keys() == {path.stem for path in (CONFIGS / group).glob("*.yaml")}


def test_components_are_read_and_checked_without_torch():
    code = f"""
import sys
from bptrain.config.component import components
from bptrain.config.read import read_component
for group in {GROUPS}:
    for name in components(group):
        read_component(group, {{"name": name, **{GIVEN}.get(name, {{}})}}, group, problems := [])
        assert not problems
read_component("optimizer", {{"name": "sgd", "nesterov": True}}, "optimizer", problems)
assert problems
import bptrain.metrics
print(sorted({{"torch", "numpy", "sklearn", "polars"}} & sys.modules.keys()))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"

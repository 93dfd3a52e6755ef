"""The YAML beside each source of data."""

from pathlib import Path

import pytest
import yaml

from bptrain.config.component import components
from bptrain.config.read import read_component

FOLDER = Path(__file__).parents[2] / "configs" / "data"
FILE = {"path", "target"}
REQUIRED = {"csv": FILE, "parquet": FILE, "npy": FILE, "series": {"path", "column"}}


def test_each_source_has_its_yaml():
    assert {file.stem for file in FOLDER.glob("*.yaml")} == set(components("data"))


@pytest.mark.parametrize("name", sorted(components("data")))
def test_the_yaml_holds_every_setting_at_its_default(name):
    given = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    required = {key: "given" for key, value in given.items() if value == "???"}
    problems = []
    read = read_component("data", given | required, "data", problems)
    assert not problems
    component = components("data")[name]
    assert read == component(**required)
    fields = component.__dataclass_fields__
    assert set(given) == {"name", *fields}
    assert set(given["split"]) == set(read.split.__dataclass_fields__)
    assert set(required) == REQUIRED.get(name, set())

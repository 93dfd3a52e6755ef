"""Every preset composes, says how it is run, makes two steps and is verified in both."""

import re
from dataclasses import replace

import pytest

from bptrain.config.compose import compose, settings_of
from bptrain.config.tree import config_root
from bptrain.train.fit import fit
from bptrain.train.record import Checked, Stepped

FILES = sorted((config_root() / "experiment").glob("*.yaml"))
ROWS = 8  # of each batch
LARGE = {"co2_gp", "tagging_brown", "tagging_crf", "spelling_to_sound", "sounds_in_word"}  # seconds to load or to check


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_preset_says_what_runs_it_and_what_to_expect(path):
    package, command, expectation = path.read_text().splitlines()[:3]
    assert package == "# @package _global_"
    assert command.startswith("# bptrain")
    assert command.endswith(f"bptrain experiment={path.stem}")
    assert re.match(r"# Expect: .*\d", expectation)
    assert compose([f"experiment={path.stem}"]).resolved["name"] == path.stem


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in LARGE)) for path in FILES],
    ids=lambda path: path.stem,
)
def test_two_steps_of_a_preset_are_verified(path, built):
    settings = settings_of(compose([f"experiment={path.stem}"]))
    rows = settings.check.rows if settings.optimizer.full_batch else ROWS
    run = built(replace(settings, check=replace(settings.check, every=1, rows=rows, strict=True)))
    verdicts = []
    for record in fit(run):
        if isinstance(record, Checked):
            verdicts.append(record.report.verdict)
        if isinstance(record, Stepped) and record.step == 2:
            break
    assert len(verdicts) == 2
    assert set(verdicts) <= {"verified", "contract"}

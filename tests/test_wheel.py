"""The wheel: what `pip install .` gives works in an empty folder, its configs inside."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_wheel_carries_the_configs_and_trains_in_an_empty_folder(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("bptrain-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"bptrain/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert expected <= inside
    assert not any(name.startswith(("tests/", "configs/")) for name in inside)

    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True)
    command = [sys.executable, "-m", "bptrain", "data=iris", "fit.epochs=1", "model.sizes=[3]"]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Gradients verified" in done.stdout
    where = [sys.executable, "-c", "import bptrain; print(bptrain.__file__)"]
    found = subprocess.run(where, cwd=empty, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(site))
    assert list(empty.glob("outputs/digits_mlp/*/summary.json"))

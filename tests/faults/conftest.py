"""Processes that are killed: a server with torch loaded forks them in milliseconds."""

import multiprocessing
import os
import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)


@pytest.fixture(scope="session")
def start():
    """Gives a function that starts `driver.<name>(*arguments)` in a process of its own."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([HERE, *([before] if before else [])])  # the server's
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["driver"])
    import driver

    def starting(name, *arguments):
        process = context.Process(target=getattr(driver, name), args=arguments)
        process.start()
        return process

    starting("waits", 0).join()  # has the server load all
    yield starting
    del os.environ["PYTHONPATH"]
    if before:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path

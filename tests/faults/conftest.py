"""Processes that are killed: a server with torch loaded forks them in milliseconds."""

import multiprocessing
import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)


@pytest.fixture(scope="session")
def start():
    """Gives a function that starts `driver.<name>(*arguments)` in a process of its own."""
    sys.path.insert(0, HERE)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["driver"])
    import driver

    def starting(name, *arguments):
        process = context.Process(target=getattr(driver, name), args=arguments)
        process.start()
        return process

    yield starting
    sys.path.remove(HERE)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path

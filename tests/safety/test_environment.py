"""What is around a run: no value of the environment is written, and git, asked for its state, starts no program."""

import os
import subprocess

import pytest

from bptrain.cli.main import main
from bptrain.runs import lock

TINY = ["data=iris", "model.sizes=[3]", "fit.epochs=1", "name=tiny", "device=cpu"]
SECRETS = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "HOME", "PATH", "USER", "SSH_AUTH_SOCK", "TORCH_LOGS_OUT", "GIT_DIR")


def test_no_value_of_the_environment_is_in_what_a_run_leaves(folder, monkeypatch, capsys):
    for name in (*SECRETS, "name", "seed", "BPTRAIN_TRACEBACK"):
        monkeypatch.setenv(name, "canary-of-the-environment")
    assert main(TINY) == 0
    assert main([*TINY, "optimizer.lr=x"]) == 2
    out, err = capsys.readouterr()
    assert "canary-of" not in out + err
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert b"canary-of" not in path.read_bytes()
        assert b"AWS_SECRET" not in path.read_bytes()


WAYS = [
    "${oc.env:SECRET}",
    "${oc.env:SECRET,x}",
    "x${ oc.env : SECRET }",
    "${oc.decode:${oc.env:SECRET}}",
    "${env:SECRET}",
]


@pytest.mark.parametrize("value", WAYS)
@pytest.mark.parametrize("keys", [["name"], ["monitor"], ["data", "name"], ["model", "sizes"], ["more"]], ids=str)
def test_the_config_of_a_lock_reads_no_environment(folder, run, refused, change, monkeypatch, keys, value):
    monkeypatch.setenv("SECRET", "canary")
    change(folder / run / "lock.json", ["config", *keys], value)
    for verb in ("resume", "reproduce"):
        assert "canary" not in refused([verb, str(run)], f"{'.'.join(keys)}: ", "the value itself")


@pytest.fixture
def repository(folder, monkeypatch):
    """A repository with a file that has changed; a function that sets a key of its config."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git("init", "-q")
    git("config", "user.email", "a@b")
    git("config", "user.name", "a")
    (folder / "code.py").write_text("x = 1\n")
    (folder / "table.csv").write_text("1\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (folder / "code.py").write_text("x = 2\n")
    (folder / "table.csv").write_text("2\n")
    lock._git.cache_clear()
    yield lambda key, value: git("config", key, value)
    lock._git.cache_clear()


def git(*words):
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout


def told():
    return lock._git.__wrapped__()


def test_the_commit_and_the_changes_of_a_repository_are_told(repository):
    found = told()
    assert found["commit"] == git("rev-parse", "HEAD").strip()
    assert "+x = 2" in found["diff"]
    assert "+2" in found["diff"]


FILTERS = {
    "a clean filter": [("filter.f.clean", "{}; cat")],
    "a required clean filter": [("filter.f.clean", "{}; cat"), ("filter.f.required", "true")],
    "a filter process": [("filter.f.process", "{}")],
    "a required filter process": [("filter.f.process", "{}"), ("filter.f.required", "true")],
    "a smudge filter": [("filter.f.smudge", "{}; cat"), ("filter.f.clean", "{}; cat")],
    "a textconv": [("diff.f.textconv", "{}; cat")],
    "a diff driver": [("diff.f.command", "{}")],
    "a driver of both": [("diff.f.command", "{}"), ("diff.f.textconv", "{}; cat"), ("filter.f.clean", "{}; cat")],
    "an external diff": [("diff.external", "{}")],
    "a monitor of files": [("core.fsmonitor", "{}")],
    "a monitor of version 1": [("core.fsmonitor", "{}"), ("core.fsmonitorHookVersion", "1")],
    "a pager": [("core.pager", "{}"), ("pager.diff", "{}"), ("pager.rev-parse", "{}")],
    "an alias": [("alias.diff", "!{}"), ("alias.rev-parse", "!{}"), ("alias.config", "!{}")],
    "an editor and a credential helper": [("core.editor", "{}"), ("credential.helper", "!{}"), ("core.askPass", "{}")],
    "a way to connect": [("core.sshCommand", "{}"), ("core.gitProxy", "{}"), ("gpg.program", "{}")],
}


def test_the_canaries_live(folder, tripped, repository):
    script = folder.parent / "script"
    script.write_text(f"#!/bin/sh\nmkdir {tripped}\n")
    script.chmod(0o755)
    (folder / ".gitattributes").write_text("* filter=f diff=f\n")
    for name in list(FILTERS)[:11]:
        for key, command in FILTERS[name]:
            repository(key, command.format(script))
        subprocess.run(["git", "diff", "HEAD"], capture_output=True, check=False)
        assert tripped.exists()
        tripped.rmdir()
        for key, _ in FILTERS[name]:
            git("config", "--unset", key)


@pytest.mark.parametrize("settings", FILTERS.values(), ids=FILTERS)
def test_no_program_that_a_repository_names_is_run(folder, tripped, repository, settings):
    script = folder.parent / "script"
    script.write_text(f"#!/bin/sh\nmkdir {tripped}\n")
    script.chmod(0o755)
    (folder / ".gitattributes").write_text("* filter=f diff=f\n")
    for key, command in settings:
        repository(key, command.format(script))
    found = told()
    assert not tripped.exists()
    assert "+x = 2" in found["diff"]


@pytest.mark.parametrize("name", ["f.g", "F g", "\u00e9", "a]b", 'a"b', "f\\g"])
def test_a_filter_of_an_odd_name_is_not_run_either(folder, tripped, repository, name):
    repository(f"filter.{name}.clean", f"mkdir {tripped}; cat")
    (folder / ".git/info/attributes").write_text("*.py filter=" + name.replace(" ", "\\ ") + "\n")
    assert told() is not None
    assert not tripped.exists()


def test_where_a_filter_can_not_be_switched_off_nothing_is_compared(folder, tripped, repository):
    repository("filter.a=b.clean", f"mkdir {tripped}; cat")
    (folder / ".gitattributes").write_text("* filter=a=b\n")
    assert told()["diff"] == ""
    assert not tripped.exists()


HOOKS = ["post-index-change", "fsmonitor-watchman", "post-checkout", "pre-auto-gc", "reference-transaction"]


def test_no_hook_is_run(folder, tripped, repository):
    for place in (".git/hooks", "hooks"):
        (folder / place).mkdir(exist_ok=True)
        for name in HOOKS:
            (folder / place / name).write_text(f"#!/bin/sh\nmkdir {tripped}\n")
            (folder / place / name).chmod(0o755)
    repository("core.hooksPath", "hooks")
    assert "+x = 2" in told()["diff"]
    assert not tripped.exists()


@pytest.mark.parametrize(
    "name",
    ["GIT_EXTERNAL_DIFF", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_PAGER", "GIT_ASKPASS", "GIT_EDITOR", "GIT_PROXY_COMMAND"],
)
def test_no_program_that_the_environment_names_is_run(folder, tripped, repository, monkeypatch, name):
    monkeypatch.setenv(name, f"mkdir {tripped}")
    assert "+x = 2" in told()["diff"]
    assert not tripped.exists()


def test_a_config_in_the_environment_names_no_program(tripped, repository, monkeypatch):
    for key, value in (("COUNT", "1"), ("KEY_0", "core.fsmonitor"), ("VALUE_0", f"mkdir {tripped}")):
        monkeypatch.setenv(f"GIT_CONFIG_{key}", value)
    assert "+x = 2" in told()["diff"]
    assert not tripped.exists()


def test_git_runs_nothing_in_a_submodule(folder, tripped, repository):
    for words in (
        ["init", "-q", "sub"],
        ["-C", "sub", "config", "user.email", "a@b"],
        ["-C", "sub", "config", "user.name", "a"],
    ):
        git(*words)
    (folder / "sub/x").write_text("1\n")
    git("-C", "sub", "add", ".")
    git("-C", "sub", "commit", "-q", "-m", "first")
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", "./sub", "sub")
    git("commit", "-q", "-m", "second", "-a")
    (folder / "code.py").write_text("x = 2\n# more\n")
    (folder / "sub/x").write_text("2\n")
    (folder / "sub/.gitattributes").write_text("* filter=f diff=f\n")
    for key in ("core.fsmonitor", "filter.f.clean", "diff.f.textconv", "diff.external"):
        git("-C", "sub", "config", key, f"mkdir {tripped}; cat")
    for value in ("log", "diff", "short"):
        repository("diff.submodule", value)
        assert "+# more" in told()["diff"]
        assert not tripped.exists()


def test_a_repository_whose_files_lie_elsewhere_has_none_of_them_read(folder, repository):
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "code.py").write_text("password = 'canary'\n")
    repository("core.worktree", str(elsewhere))
    assert "canary" not in str(told())


def test_nothing_is_fetched_for_a_repository_that_lacks_objects(folder, tripped, repository):
    (blob,) = git("rev-parse", "HEAD:code.py").split()
    (folder / ".git/objects" / blob[:2] / blob[2:]).unlink()
    repository("remote.origin.url", f"ext::sh -c mkdir% {tripped}")
    repository("remote.origin.promisor", "true")
    repository("remote.origin.partialclonefilter", "blob:none")
    repository("extensions.partialClone", "origin")
    repository("core.repositoryFormatVersion", "1")
    repository("protocol.ext.allow", "always")
    repository("protocol.allow", "always")
    assert told()["diff"] == ""
    assert not tripped.exists()


def test_a_repository_is_not_written_to(folder, repository):
    os.utime(folder / "code.py", (1, 1))
    before = {path: path.stat().st_mtime_ns for path in (folder / ".git").rglob("*")}
    told()
    assert {path: path.stat().st_mtime_ns for path in (folder / ".git").rglob("*")} == before

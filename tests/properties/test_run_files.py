"""Files of a run, with bytes or values changed: it goes on, or is refused in one short message."""

import copy
import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptrain.cli.main import main
from bptrain.errors import RequestError
from bptrain.runs.directory import RunDirectory
from bptrain.runs.resume import resumed
from bptrain.train.checkpoint import Damaged, read


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a run that has finished."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["data=iris", "model.sizes=[3]", "fit.epochs=1", "name=tiny", "check.enabled=false", "-q"]) == 0
    (path,) = folder.glob("outputs/tiny/*")
    return path


VALUES = [
    None,
    True,
    -1,
    0,
    1.5,
    1e999,
    -math.inf,
    math.nan,
    10**400,
    "",
    "x",
    "../x",
    "\ud800",
    "\u202e",
    [],
    {},
    [[]],
    {"tensor": "x"},
    {"a": None},
    [1, "a"],
    "9" * 999,
]


@st.composite
def altered(draw, value):
    """Plain data with something in it another value, or missing, or under another name."""
    value = copy.deepcopy(value)
    node = value
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or not node[key] or not draw(st.integers(0, 2)):
            break
        node = node[key]
    if (way := draw(st.integers(0, 5))) == 0:
        del node[key]
    elif way == 1 and isinstance(node, dict):
        node[str(key) + draw(st.sampled_from(["x", "_", "\u202e"]))] = node.pop(key)
    else:
        node[key] = draw(st.sampled_from(VALUES))
    return value


def signed(state):
    """The bytes of a state with a checksum that is right, as a stranger may write them."""
    state["checksums"].pop("state.json", None) if isinstance(state.get("checksums"), dict) else None
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    if isinstance(state.get("checksums"), dict):
        state["checksums"]["state.json"] = {"sha256": digest}
    return json.dumps(state).encode()


@pytest.mark.parametrize("count", [40, pytest.param(300, marks=pytest.mark.slow)])
def test_a_run_whose_files_are_mutated_goes_on_or_is_refused_shortly(count, examples, in_time, short, mutated, run):
    paths = {"lock.json": run / "lock.json", "state.json": run / "checkpoints" / "last" / "state.json"}
    good = {name: path.read_bytes() for name, path in paths.items()}
    lock, state = (json.loads(good[name]) for name in ("lock.json", "state.json"))
    files = st.sampled_from(sorted(good)).flatmap(lambda name: st.tuples(st.just(name), mutated(good[name])))
    locks = st.tuples(st.just("lock.json"), altered(lock).map(lambda value: json.dumps(value).encode()))
    states = st.tuples(st.just("state.json"), altered(state).map(signed))

    @examples(count)
    @given(files | locks | states)
    def holds(case):
        name, content = case
        paths[name].write_bytes(content)
        try:
            with in_time():
                resumed(RunDirectory(run))
        except RequestError as error:
            short(str(error), content.decode(errors="replace") + str(run) + "NoneType")
        finally:
            paths[name].write_bytes(good[name])

    holds()


@pytest.mark.parametrize("count", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_a_mutated_checkpoint_is_read_or_said_to_be_damaged_shortly(count, examples, in_time, short, mutated, run):
    folder = run / "checkpoints" / "last"
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    files = st.sampled_from(sorted(good)).flatmap(lambda name: st.tuples(st.just(name), mutated(good[name])))

    @examples(count)
    @given(files)
    def holds(case):
        name, content = case
        try:
            with in_time():
                read(good | {name: content})
        except Damaged as error:
            short(str(error)[:400], content.decode(errors="replace"))

    holds()

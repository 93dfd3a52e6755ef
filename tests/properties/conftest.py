"""What a wrong request may say, and how many examples hypothesis tries: the same ones each time, kept nowhere."""

import contextlib
import io
import re
import signal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bptrain.cli.main import main

HANGS = 10  # seconds
# What only somebody who knows how bptrain is made can read.
INTERNAL = re.compile(r"\w+(Config|Error|Exception)\b|NoneType|<class|Traceback|full_key|object at 0x")


PIECES = [
    b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b'"', b"'", b",", b";", b"{", b"[", b"]", b"}", b"(",
    b"-", b"1e999", b"-1e400", b"nan", b"9" * 400, b"1.5", b"0x10", b"true", b"null", b"NULL", b"=1+1", b"\\u0000",
    b"\\ud800", b"\xc3", b"\xe2\x80\xae", b"(1000000000000,)", b"<f8", b"|O", b"PAR1", b"\x80\x04", b"PK\x03\x04",
    b"\x1f\x8b", b"\xff" * 9, b"a" * 200_000, b"[" * 2000,
]  # fmt: skip
WAYS = (
    "flip",
    "flip",
    "cut",
    "behead",
    "without",
    "zeros",
    "doubled",
    "insert",
    "insert",
    "replace",
    "replace",
    "swapped",
)


@st.composite
def _mutated(draw, content):
    """Bytes with some of them changed, as a hand, a disk or a network would."""
    for _ in range(draw(st.integers(1, 3))):
        size = max(1, len(content))
        # The beginning and the end, where headers are, as often as all that is between.
        near = st.integers(0, min(200, size)) | st.integers(max(0, size - 200), size) | st.integers(0, size)
        at, to = sorted((draw(near), draw(near)))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=9))
        bit = draw(st.integers(0, 7))
        content = _changed(content, draw(st.sampled_from(WAYS)), at, to, piece, bit)
    return content


def _changed(content, way, at, to, piece, bit):
    """Bytes with one change, from one place to another."""
    before, within, after = content[:at], content[at:to], content[to:]
    match way:
        case "flip":
            return before + bytes(of ^ (1 << bit) for of in content[at : at + 1]) + content[at + 1 :]
        case "cut":
            return before
        case "behead":
            return after
        case "without":
            return before + after
        case "zeros":
            return before + bytes(len(within)) + after
        case "doubled":
            return before + within + within + after
        case "insert":
            return before + piece + content[at:]
        case "replace":
            return before + piece + content[at + len(piece) :]
        case _:
            return after + before + within


@pytest.fixture(scope="session")
def mutated():
    """A strategy from bytes: the same with some of them changed."""
    return _mutated


@pytest.fixture(scope="session")
def examples():
    """Hypothesis's settings for a number of examples."""

    def examples(count):
        quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
        return settings(max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=quiet)

    return examples


@pytest.fixture(scope="session")
def in_time():
    """A context that fails what hangs."""

    @contextlib.contextmanager
    def in_time():
        def hangs(*_):
            raise BaseException(f"takes more than {HANGS} seconds")

        before = signal.signal(signal.SIGALRM, hangs)
        signal.alarm(HANGS)
        try:
            yield
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    return in_time


@pytest.fixture(scope="session")
def short():
    """Fails unless a message is at most twelve lines, each short, printable, and in words of the project."""

    def short(message, given=""):
        lines = message.split("\n")
        assert len(lines) <= 12
        for line in lines:
            assert 0 < len(line) <= 420
            assert line.isprintable()
            assert all(found[0] in given for found in INTERNAL.finditer(line)), line

    return short


@pytest.fixture(scope="session")
def told(in_time, short):
    """What the command line says on stderr of `--cfg job` and words; fails unless that is nothing, or exit is 2."""

    def told(*words):
        stdout, stderr = io.StringIO(), io.StringIO()
        with in_time(), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            code = main(["--cfg", "job", *words])
        message = stderr.getvalue().removesuffix("\n")
        assert (code, bool(message)) in ((0, False), (2, True)), message
        if message:
            assert all(line.startswith("bptrain: ") for line in message.split("\n"))
            short(message, " ".join(words))
        return message

    return told

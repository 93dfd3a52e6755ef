"""Overrides of any kind: each list of them composes, or is refused in a short message that names the key."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bptrain.config.compose import compose
from bptrain.config.tree import Tree
from bptrain.errors import printable

TREE = Tree.of(None)
PRESETS = ["digits_cnn", "digits_gru", "sunspots_gru", "tagging_crf", "neuron", "digits_vae"]


def keys_of(config, prefix=""):
    for name, value in config.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from keys_of(value, f"{prefix}{name}.")


GROUPS = TREE.groups()

LETTERS = string.ascii_lowercase + string.digits + "_"
ODD = [
    "é",
    "\u0301",
    "\u202e",
    "\u200b",
    "😀",
    "\x00",
    "\x1b[2J",
    "\x9b",
    "\udcff",
    "\ufeff",
    "\u2028",
    "\x85",
    "Ω",
    "\xa0",
]
NUMBERS = [
    "10" + "0" * 400, "-1" + "0" * 400, "1e999", "-1e999", "nan", "inf", "-inf", "-0", "0x10", "1_0", "00", "1e",
    "9" * 5000, "0.1", "1e-400", "2147483648", "-1", "0", "1", "3", "1e300", "1e5", ".5", "5.", "1j", "1/2",
]  # fmt: skip
CALLS = [
    "range(3)", "range(0,1,0)", "choice(1,2)", "choice()", "interval(0,1)", "glob(*)", "int(x)", "float(3)", "str(3)",
    "bool(x)", "sort(3,1)", "shuffle(1,2)", "tag(x,1)", "f(x)", "range(1e9)", "oc.env(X)", "int([1,x])",
]  # fmt: skip
INTERPOLATIONS = [
    "${seed}", "${nothing}", "${oc.env:HOME}", "${${seed}}", "${.x}", "${", "$", "${model}", "${name}",
    "${model.sizes[0]}", "${a.b.c}", "???", "${..seed}", "${seed}${seed}", "${oc.decode:1}",
]  # fmt: skip
QUOTES = ["'", '"', "'a", 'a"', "''", '""', "'a'b", "\\", "\\'", "'\\'", "`", "'a\\\\'", "\"a'", "a'b"]
WORDS = [
    "true", "false", "null", "None", "yes", "off", "~", "*", "&a", "!!x", "#", "%", "@", ":", "=", "a=b", ";", "|",
    "/", "../x", "/etc/passwd", "a b", " a", "a ", "a,b", "a,", ",", ",,", "-", "--help", "", " ", "\t", "\n", "a\nb",
]  # fmt: skip


def nested(value):
    lists = st.lists(value, max_size=3).map(lambda of: f"[{','.join(of)}]")
    keys = st.sampled_from(["a", "name", "lr", "_target_", "1", "true", "null", "${seed}", "'a b'", "hydra", "", "é"])
    maps = st.lists(st.tuples(keys, value), max_size=3).map(lambda of: "{" + ",".join(f"{k}:{v}" for k, v in of) + "}")
    return lists | maps


RIGHT = [
    "1",
    "2",
    "0.5",
    "true",
    "false",
    "null",
    "[3]",
    "[3,4]",
    "relu",
    "gru",
    "adam",
    "auto",
    "none",
    "10s",
    "cpu",
    "x",
    "{}",
    "[]",
    "fp64",
    "1e-3",
    "'x y'",
]  # of some key, that is


def brackets(pair, depth, closed):
    return pair[0] * depth + "1" + pair[1] * (depth - (not closed))


SCALARS = st.one_of(
    *map(st.sampled_from, (NUMBERS, CALLS, INTERPOLATIONS, QUOTES, WORDS, ODD)),
    st.text(max_size=8),
    st.integers().map(str),
)
VALUES = st.one_of(
    st.sampled_from(RIGHT),
    SCALARS,
    st.recursive(SCALARS, nested, max_leaves=6),
    st.builds(
        brackets,
        st.sampled_from(["[]", "()", ("{a:", "}"), ("f(", ")"), ("${", "}")]),
        st.integers(1, 200),
        st.booleans(),
    ),
    st.builds(lambda text, times: text * times, SCALARS, st.sampled_from([2, 30, 3_000, 100_000])).map(
        lambda of: of[:100_000]
    ),
)


FORMS = ["{}.yaml", "[{0},{0}]", "{0},{0}", "{}x", "../{}"]


def typo(word, place, letter, kind):
    """A word with a slip of one letter."""
    i = place % max(1, len(word))
    return {
        "insert": word[:i] + letter + word[i:],
        "delete": word[:i] + word[i + 1 :],
        "replace": word[:i] + letter + word[i + 1 :],
        "transpose": word[:i] + word[i : i + 2][::-1] + word[i + 2 :],
    }[kind]


TYPOS = st.sampled_from(["insert", "delete", "replace", "transpose"])
MORE = [".x", ".0", "[0]", "/x", ".", "/", "..x", " ", "." + "x" * 999, ".x" * 40, "/x" * 300]
OTHER = [
    "hydra", "hydra.run.dir", "hydra/launcher", "_target_", "model._target_", "trust", "trust.x", "defaults", "$",
    "_self_", "model/../data", "../x", "a" * 100_000,
]  # fmt: skip


PREFIXES = st.sampled_from(["", "", "", "+", "++", "~", "+~", "~~", "-", "+++"])
PACKAGES = st.sampled_from(
    ["", "", "", "@", "@x", "@model", "@_global_", "@_group_", "@x.y.z", "@:x", "@x:y", "@hydra", "@é"]
)
EQUALS = st.sampled_from(["=", "=", "=", "=", "", "==", " = "])
PLACES, LETTER = st.integers(0, 99), st.sampled_from(LETTERS) | st.sampled_from(ODD)
CHOSEN = {preset: sorted(keys_of(compose([f"experiment={preset}"]).resolved)) for preset in PRESETS}


@st.composite
def overrides(draw):
    """A preset, a word after it as somebody may write it, and what it names: a key, and where that goes."""
    preset = draw(st.sampled_from(PRESETS))
    key = draw(st.sampled_from(CHOSEN[preset] if draw(st.integers(0, 2)) else GROUPS))
    value = draw(VALUES if draw(st.booleans()) else st.sampled_from(RIGHT))
    if key in GROUPS and draw(st.integers(0, 3)):
        option = draw(st.sampled_from(TREE.options(key)))
        value = draw(st.sampled_from([*[option] * 3, *(form.format(option) for form in FORMS)]))
    odd = draw(st.integers(0, 11))  # of three, one has nothing wrong but its value
    key = key if odd else draw(SCALARS | st.sampled_from(OTHER))
    key = draw(st.builds(typo, st.just(key), PLACES, LETTER, TYPOS)) if odd in (1, 2) else key
    key += draw(st.sampled_from(MORE)) if odd == 3 else ""
    if odd > 7:
        return preset, f"{key}={value}", [key]
    equals, package = draw(EQUALS), draw(PACKAGES)
    return preset, draw(PREFIXES) + key + package + equals + (value if equals else ""), [key, package[1:]]


def names(message, keys):
    """Whether a message has one of the keys, or so much of it as a short message has room for."""
    forms = [of for key in keys for of in (key, key.replace("/", "."), key.partition(".")[0], key.strip())]
    return any(printable(form)[:20] in message for form in forms if form) or not any(keys)


@pytest.mark.parametrize("count", [60, pytest.param(800, marks=pytest.mark.slow)])
def test_a_mutated_override_composes_or_is_refused_with_its_key(count, examples, told):
    @examples(count)
    @given(overrides())
    def holds(override):
        preset, word, keys = override
        message = told(f"experiment={preset}", word)
        assert not message or word.startswith("-") or names(message, keys), message  # else it is an option

    holds()


@pytest.mark.parametrize("count", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_mutated_lists_of_overrides_compose_or_are_refused_shortly(count, examples, told):
    flags = st.sampled_from(
        [[], [], [], ["-m"], ["check"], ["explain"], ["--resolve"], ["-m", "seed=1,2"], ["train", "-q"]]
    )
    few, many = (
        st.lists(overrides(), max_size=5),
        st.builds(list.__mul__, st.lists(overrides(), max_size=3), st.just(200)),
    )

    @examples(count)
    @given(flags, few | few | few | many)
    def holds(flags, drawn):
        told(*flags, *(word for _, word, _ in drawn))

    holds()

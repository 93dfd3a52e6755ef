"""A config that is varied is the one that is composed."""

import pytest

from bptrain.config.compose import compose
from bptrain.config.tree import Tree
from bptrain.config.vary import plain, varied

VALUES = {
    "optimizer.lr": ("0.1", "1e-3", "null"),
    "model.sizes": ("[3]", "[4,5]", "[]"),
    "name": ("a", "'b c'", "${seed}"),
    "fit.checkpoint.every": ("10s", "7"),
    "seed": ("0", "12"),
    "fit.clip": ("null", "0.5"),
}


@pytest.mark.parametrize("key", VALUES)
def test_a_varied_config_is_the_composed_one(key):
    fixed, (first, *others) = ["experiment=digits_cnn", "optimizer.lr=0.3"], VALUES[key]
    start = compose([*fixed, "seed=5", f"{key}={first}"])
    for value in others:
        words = ["seed=6", f"{key}={value}"]
        assert varied(start, ["seed=5", f"{key}={first}"], words) == compose([*fixed, *words])


def test_only_values_of_keys_are_plain():
    tree = Tree.of(None)
    assert plain(["optimizer.lr=0.1", "model.sizes=[1,2]", "monitor=null"], tree)
    for word in (
        "model=cnn",
        "model/activation=tanh",
        "~fit.clip",
        "+fit.clip=1",
        "++fit.clip=1",
        "trust=a.b",
        "fit.checkpoint={every:3}",
    ):
        assert not plain([word], tree), word

"""Slips of one letter in keys, groups, options and choices: what is meant is what is suggested."""

import random
import re
import string
from collections import Counter
from dataclasses import fields, is_dataclass
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from bptrain.config.compose import compose, settings_of
from bptrain.config.tree import Tree
from bptrain.errors import RequestError

TREE = Tree.of(None)
LETTERS = string.ascii_lowercase + string.digits + "_"
SHARE = 0.95


def slips(word):
    """All words that one letter more, less or other, or two that changed places, make of a word."""
    made = {word[:i] + letter + word[i + more :] for i in range(len(word) + 1) for letter in LETTERS for more in (0, 1)}
    made |= {word[:i] + word[i + 1 :] for i in range(len(word))}
    made |= {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}
    return sorted(made - {word, ""})


def of_keys(config, prefix=""):
    """The slip in a key, as an override, and the key."""
    for name, value in config.items():
        yield from ((f"{prefix}{slip}=1", name) for slip in slips(name) if slip not in config)
        if isinstance(value, dict):
            yield from of_keys(value, f"{prefix}{name}.")


def of_groups():
    """The same of groups."""
    for group in TREE.groups():
        parent, slash, last = group.rpartition("/")
        words = (parent + slash + slip for slip in slips(last))
        yield from ((f"{word}={TREE.options(group)[0]}", group) for word in words if not TREE.is_group(word))


def of_options():
    """The same of the options of a group."""
    for group in TREE.groups():
        options = TREE.options(group)
        yield from ((f"{group}={slip}", name) for name in options for slip in slips(name) if slip not in options)


def of_choices(settings, prefix=""):
    """The same of values of which there are a few."""
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        hint = hints[field.name]
        options = [of for of in (get_args(hint) or ()) if get_origin(of) is Literal] or [hint]
        choices = [of for option in options if get_origin(option) is Literal for of in get_args(option)]
        yield from (
            (f"{prefix}{field.name}={slip}", choice)
            for choice in choices
            for slip in slips(choice)
            if slip not in (*choices, "null")
        )
        if is_dataclass(value := getattr(settings, field.name)):
            yield from of_choices(value, f"{prefix}{field.name}.")


@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.slow)])
def test_at_least_95_of_100_slips_of_one_letter_are_told_with_what_was_meant(count):
    config = compose([])
    cases = {"keys": of_keys(config.resolved), "groups": of_groups(), "options": of_options()}
    cases["choices"] = of_choices(settings_of(config))
    drawn = random.Random(0)
    right, first = Counter(), 0
    for kind, slipped in cases.items():
        for word, meant in drawn.sample(list(slipped), count // len(cases)):
            with pytest.raises(RequestError) as caught:
                settings_of(compose([word]))
            said = re.findall(r"'(?:[^']*\.)?([^']*)'", str(caught.value).partition("Did you mean")[2])
            right[kind] += meant in said
            first += said[:1] == [meant]
    tried = count // len(cases)
    print(f"meant among what is suggested: {dict(right)} of {tried} each; the first: {first} of {tried * len(cases)}")
    assert min(right.values()) >= SHARE * tried

"""The Brown corpus (Francis and Kucera 1964, 1979): American English of 1961, each word with its part of speech."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bptrain.config.component import setting
from bptrain.data.dataset import IGNORED, Data, Dataset, Part, fingerprint
from bptrain.data.fetched import AGAIN, FOLDER_HELP, fetched
from bptrain.data.sentences import LONGEST, MIN_COUNT, Vocabulary, padded
from bptrain.data.split import SPLIT, Split, divide
from bptrain.errors import Problem, RequestError, did_you_mean

# The letter in the names of a category's files, and how many there are.
CATEGORIES = {
    "news": ("a", 44),
    "editorial": ("b", 27),
    "reviews": ("c", 17),
    "religion": ("d", 17),
    "hobbies": ("e", 36),
    "lore": ("f", 48),
    "belles_lettres": ("g", 75),
    "government": ("h", 30),
    "learned": ("j", 80),
    "fiction": ("k", 29),
    "mystery": ("l", 24),
    "science_fiction": ("m", 6),
    "adventure": ("n", 29),
    "romance": ("p", 29),
    "humor": ("r", 9),
}
ENDINGS = (4, 3, 2, 1)  # letters of the endings by which a rare word goes, the longest that is frequent enough
Tagged = list[tuple[str, str]]


def signs(word: str) -> Iterator[str]:
    """What a rare word shares with others, from the closest likeness on: digits, capital, hyphen, and its ending."""
    shape = ("0" if any(c.isdigit() for c in word) else "") + ("A" if word[:1].isupper() else "")
    shape += "-" if "-" in word[1:-1] else ""
    for letters in ENDINGS:
        if len(word) > letters:
            yield f"<{shape} *{word[-letters:].lower()}>"
    yield f"<{shape}>"


def base_tag(tag: str) -> str:
    """The tag without the marks of titles (-tl), headlines (-hl), cited (-nc) and foreign words (fw-)."""
    return re.sub(r"-(tl|hl|nc)(?=$|-)", "", tag).removeprefix("fw-")


@dataclass(frozen=True)
class Brown(Data, name="brown"):
    """57,340 sentences, 1,161,192 words and their tags, of which there are 472, or 190 base tags; news is 4623 of them.

    A sentence of more than `length` words is cut into several, so that each word is still tagged. A word that is rarer
    than `min_count` in the training part goes by its ending and its shape, or all as one with `unknown=one`. A tag
    that the training part does not have is a class all the same.
    """

    categories: tuple[str, ...] | None = setting(None, f"Of these, null for all: {', '.join(CATEGORIES)}.")
    tags: Literal["base", "full"] = setting("base", "base: tags without -tl, -hl, -nc and fw-; full: all of them.")
    length: int = setting(
        64, "The most words of a sentence; a longer one is cut into several.", minimum=1, maximum=LONGEST
    )
    min_count: int = setting(2, MIN_COUNT, minimum=1)
    unknown: Literal["endings", "one"] = setting(
        "endings", "What a rarer word goes by: its ending and shape, or one token for all of them."
    )
    folder: str = setting("datasets", FOLDER_HELP)
    split: Split = setting(Split, SPLIT)

    def __post_init__(self) -> None:
        problems = [
            Problem("data.categories", f"there is no '{name}'.", did_you_mean(name, CATEGORIES))
            for name in self.categories or ()
            if name not in CATEGORIES
        ]
        if self.categories == ():
            problems.append(Problem("data.categories", "names none.", "Write null for all of them."))
        if self.split.by == "stratified":
            what = "is stratified, and a sentence has no class."
            problems.append(Problem("data.split.by", what, "Write random, order or interleaved."))
        if problems:
            raise RequestError(problems)

    def load(self, seed: int) -> Dataset:
        import numpy as np
        import torch

        whole = self.sentences()
        rows = divide(np.zeros(len(whole)), (), self.split, seed)
        cut = {
            part: [piece for row in chosen for piece in pieces(whole[row], self.length)]
            for part, chosen in rows.items()
        }
        words = {part: [[word for word, _ in sentence] for sentence in sentences] for part, sentences in cut.items()}
        vocabulary = Vocabulary(words["train"], self.min_count, signs if self.unknown == "endings" else lambda word: ())
        classes = tuple(sorted({tag for sentence in whole for _, tag in sentence}))
        numbers = {tag: number for number, tag in enumerate(classes)}
        length = max(len(sentence) for sentences in cut.values() for sentence in sentences)
        parts = {
            part: Part(
                torch.from_numpy(vocabulary.tokens(words[part], length)),
                torch.from_numpy(padded([[numbers[tag] for _, tag in s] for s in sentences], length, IGNORED)),
            )
            for part, sentences in cut.items()
        }
        return Dataset(
            name=self.name,
            task="tagging",
            shape=(length,),
            outputs=len(classes),
            classes=classes,
            parts=parts,
            target_scale=(),
            fingerprint=fingerprint(parts),
            vocabulary=vocabulary.words,
        )

    def sentences(self) -> list[Tagged]:
        """The sentences of the categories, in the order of the files."""
        found = []
        for name in CATEGORIES:
            if self.categories is None or name in self.categories:
                letter, count = CATEGORIES[name]
                for number in range(1, count + 1):
                    found += read_tagged(fetched(self.folder, f"brown/c{letter}{number:02}"))
        if self.tags == "base":
            return [[(word, base_tag(tag)) for word, tag in sentence] for sentence in found]
        return found


def pieces(sentence: Tagged, length: int) -> Iterator[Tagged]:
    """A sentence in as few pieces as may be, none longer than `length`."""
    for start in range(0, len(sentence), length):
        yield sentence[start : start + length]


def read_tagged(path: Path) -> list[Tagged]:
    """The sentences of a file, one a line, written word/tag; RequestError with the first line that is another."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise RequestError(Problem(str(path), "is no text in UTF-8.", AGAIN)) from None
    sentences = []
    for number, line in enumerate(lines, 1):
        pairs = [(word, tag) for word, _, tag in (written.rpartition("/") for written in line.split())]
        if not all(word and tag for word, tag in pairs):
            raise RequestError(Problem(f"{path}:{number}", "has something else than word/tag.", AGAIN))
        if pairs:
            sentences.append(pairs)
    return sentences

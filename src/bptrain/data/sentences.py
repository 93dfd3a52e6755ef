"""Sentences become tokens: numbers of words in a vocabulary that the training part alone has made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from bptrain.data.dataset import PAD

if TYPE_CHECKING:
    from numpy import ndarray

Sentence = Sequence[str]
PADDING, UNKNOWN = "<padding>", "<unknown>"
MIN_COUNT = "How often a word must be in the training part to have a token of its own."
LONGEST = 2**16  # tokens of a sentence


class Vocabulary:
    """The words that have a token, the most frequent ones first, after PAD and UNKNOWN.

    A word that has none goes by the first of its `signs` that has one: marks such as its ending, which it shares with
    other words, and which must be as frequent among the rare words of the training part.
    """

    def __init__(
        self, sentences: Iterable[Sentence], min_count: int, signs: Callable[[str], Iterable[str]] = lambda word: ()
    ) -> None:
        counts = Counter(word for sentence in sentences for word in sentence)
        rare = {word: count for word, count in counts.items() if count < min_count}
        marks: Counter[str] = Counter()
        for word, count in rare.items():
            for sign in signs(word):
                marks[sign] += count
        used: Counter[str] = Counter()  # what has a token is seen in training
        for word, count in rare.items():
            for sign in signs(word):
                if marks[sign] >= min_count:
                    used[sign] += count
                    break
        known = {word: count for word, count in counts.items() if count >= min_count} | used
        self.words = (PADDING, UNKNOWN, *sorted(known, key=lambda word: (-known[word], word)))
        self._signs = signs
        self._tokens = {word: token for token, word in enumerate(self.words)}

    def token(self, word: str) -> int:
        """The number of the word, or of its first sign that has one, or of UNKNOWN."""
        found = self._tokens.get(word)
        if found is None:
            known = (self._tokens[sign] for sign in self._signs(word) if sign in self._tokens)
            found = self._tokens[word] = next(known, self._tokens[UNKNOWN])
        return found

    def tokens(self, sentences: Sequence[Sentence], length: int) -> ndarray:
        """int64 (N, length), PAD after the end; no sentence is longer."""
        return padded([[self.token(word) for word in sentence] for sentence in sentences], length, PAD)


def padded(rows: Sequence[Sequence[int]], length: int, filler: int) -> ndarray:
    """int64 (N, length): the rows, filled up at their ends."""
    import numpy as np

    filled = np.full((len(rows), length), filler, np.int64)
    for i, row in enumerate(rows):
        filled[i, : len(row)] = row
    return filled

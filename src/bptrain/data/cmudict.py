"""The CMU Pronouncing Dictionary: English words in letters, and as they are said in phonemes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bptrain.config.component import setting
from bptrain.data.dataset import END, PAD, Data, Dataset
from bptrain.data.fetched import FOLDER_HELP, fetched
from bptrain.data.split import SPLIT, Split, divide
from bptrain.data.transduction import labelled, transduction
from bptrain.errors import Problem, RequestError

LARGEST = 2**24  # bytes of the file
LONGEST = 64  # letters of a word, and phonemes of a pronunciation
SHOWN = 20  # letters of what is no phoneme
LETTERS = "'abcdefghijklmnopqrstuvwxyz"
PHONEMES = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
).split()


@dataclass(frozen=True)
class CMUDict(Data, name="cmudict"):
    """Spelling to sound: the letters of a word, and its phonemes without their stress, of which there are 39.

    124,926 words, read from <folder>/cmudict/cmudict.dict. Left out are 1126 with other characters than letters and
    apostrophes: periods (a.m., whose letters may be said one by one) and hyphens (all-time, two words in one). The
    pronunciation that is listed first is the target, and all that are listed count as right; no word is in two parts.
    https://github.com/cmusphinx/cmudict

    With task=multilabel the targets are which of the 39 phonemes occur in the word, whatever their order.
    """

    folder: str = setting("datasets", FOLDER_HELP)
    task: Literal["transduction", "multilabel"] = setting(
        "transduction", "What is asked for: the phonemes in their order, or which of them occur."
    )
    words: int | None = setting(None, "How many words there are in all, drawn by the seed; null for all.", minimum=1)
    split: Split = setting(Split, SPLIT)

    @property
    def path(self) -> Path:
        """The dictionary; RequestError where it is not there."""
        return fetched(self.folder, "cmudict/cmudict.dict")

    def load(self, seed: int) -> Dataset:
        import numpy as np

        pronunciations = read_pronunciations(self.path)
        words = sorted(word for word in pronunciations if set(word) <= set(LETTERS))
        if self.words is not None:
            if self.words > len(words):
                what = f"is {self.words}, and {self.path} has {len(words)} words of letters and apostrophes."
                raise RequestError(Problem("data.words", what, "Write fewer, or null."))
            drawn = np.random.default_rng(seed).permutation(len(words))[: self.words]
            words = [words[i] for i in np.sort(drawn)]
        rows = divide(np.arange(len(words)), (), self.split, seed)
        letters = {letter: token for token, letter in enumerate(LETTERS, PAD + 1)}
        phonemes = {phoneme: token for token, phoneme in enumerate(PHONEMES, END + 1)}
        sources = [[letters[letter] for letter in word] for word in words]
        if self.task == "multilabel":
            said = [pronunciations[word][0] for word in words]
            return labelled(self.name, sources, said, rows, ("<pad>", *LETTERS), tuple(PHONEMES))
        targets = [[[phonemes[phoneme] for phoneme in said] for said in pronunciations[word]] for word in words]
        vocabulary, classes = ("<pad>", *LETTERS), ("<pad>", "<end>", *PHONEMES)
        return transduction(self.name, sources, targets, rows, vocabulary, classes)


def read_pronunciations(path: Path) -> dict[str, list[tuple[str, ...]]]:
    """The pronunciations of each word, each once, their phonemes without the digit that is their stress.

    A line is a word, its phonemes and perhaps a comment after #; `word(2)` is another pronunciation of `word`.
    RequestError where a line is none.
    """
    if path.stat().st_size > LARGEST:
        raise RequestError(Problem(str(path), f"is larger than {LARGEST} bytes."))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise RequestError(Problem(str(path), "is not UTF-8, and so is not the dictionary.")) from None
    known, found = frozenset(PHONEMES), {}  # type: ignore[var-annotated]
    for number, line in enumerate(lines, 1):
        word, *said = line.partition("#")[0].split() or [""]
        if not word:
            continue
        phonemes = tuple(phoneme.rstrip("012") for phoneme in said)
        unknown = sorted({*phonemes} - known)
        if unknown or not 1 <= len(phonemes) <= LONGEST or len(word) > LONGEST:
            what = f"{unknown[0][:SHOWN]} is no phoneme of the dictionary" if unknown else ""
            what = what or f"needs a word and its phonemes, at most {LONGEST} letters and {LONGEST} phonemes"
            raise RequestError(Problem(f"{path}:{number}", f"{what}."))
        pronunciations = found.setdefault(re.sub(r"\(\d+\)$", "", word), [])
        if phonemes not in pronunciations:
            pronunciations.append(phonemes)
    if not found:
        raise RequestError(Problem(str(path), "has no word."))
    return found

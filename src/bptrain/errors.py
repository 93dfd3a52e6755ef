"""What can go wrong, each with its exit code and one message: where, what, what instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHOWN, WIDEST = 10, 400  # problems in a message, and characters of each
NEAR = 5  # words that are meant, perhaps


class BptrainError(Exception):
    """An end that is explained to the user in one message, without a traceback."""

    exit_code = 1


class RunFailed(BptrainError):
    """The request was right but the run could not go on: diverged, out of memory, no space."""

    exit_code = 1


class GradientsWrong(BptrainError):
    """Autograd and the reference disagree, or a reproduction differs."""

    exit_code = 3


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a request: where it stands, what is wrong, what to write instead."""

    where: str
    what: str
    instead: str = ""

    def __str__(self) -> str:
        parts = [f"{self.where}:", *filter(None, (self.what, self.instead))]
        left = WIDEST - len(parts) + 1  # but for the spaces between
        shown: dict[int, str] = {}
        lines = [printable(shortened(part, WIDEST)) for part in parts]
        for i, part in sorted(enumerate(lines), key=lambda item: len(item[1])):  # what is short stays whole
            shown[i] = shortened(part, left // (len(parts) - len(shown)))
            left -= len(shown[i])
        return " ".join(shown[i] for i in range(len(parts)))


class RequestError(BptrainError):
    """The request is wrong: config, data file, run directory or usage. Holds all problems found, and says the first."""

    exit_code = 2

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        more = len(self.problems) - SHOWN
        lines = [*map(str, self.problems[:SHOWN]), f"and {more} more."] if more > 1 else map(str, self.problems)
        super().__init__("\n".join(lines))


def printable(text: str, kept: str = "") -> str:
    """A text in which nothing moves a terminal's cursor or turns text around: that is escaped, but for `kept`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int) -> str:
    """The beginning and the end of a text that is longer than so many characters."""
    return text if len(text) <= most else f"{text[: most * 2 // 3]}...{text[len(text) + 3 - most + most * 2 // 3 :]}"


def did_you_mean(word: str, known: Iterable[str], fallback: bool = True) -> str:
    """The closest known words as a sentence, or the list of all of them, or nothing."""
    words = sorted(known)
    close = closest(word, words)
    if close:
        return "Did you mean " + " or ".join(f"'{of}'" for of in close) + "?"
    return f"Known: {', '.join(words)}." if fallback and words else ""


def closest(word: str, known: Iterable[str]) -> list[str]:
    """The words of which a slip of one letter, or of case, makes this one; else the one most alike, if any is."""
    words = sorted(known)
    return [of for of in words if _slip(word.casefold(), of.casefold())][:NEAR] or (
        difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    )


def _slip(word: str, meant: str) -> bool:
    """Whether they are one but for a letter more, less or other, or two that changed places."""
    if abs(len(word) - len(meant)) > 1:
        return False
    start = _alike(word, meant)
    word, meant = word[start:], meant[start:]
    end = _alike(word[::-1], meant[::-1])
    word, meant = word[: len(word) - end], meant[: len(meant) - end]
    return (len(word) < 2 and len(meant) < 2 and start + end > 0) or (len(word) == 2 and word == meant[::-1])


def _alike(a: str, b: str) -> int:
    """How many letters both begin with."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))

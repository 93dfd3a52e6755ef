"""What can go wrong, each with its exit code and one message: where, what, what instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


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
        return f"{self.where}: {self.what}" + (f" {self.instead}" if self.instead else "")


class RequestError(BptrainError):
    """The request is wrong: config, data file, run directory or usage. Holds every problem found."""

    exit_code = 2

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def did_you_mean(word: str, known: Iterable[str], fallback: bool = True) -> str:
    """The closest known words as a sentence, or the list of all of them, or nothing."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(words)}." if fallback and words else ""

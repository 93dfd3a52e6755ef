"""Decisions: what time has decided in a population, so that a later one of the same members can come to the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bptrain.errors import RunFailed
from bptrain.train.choice import GAIN
from bptrain.train.program import Program, Untraceable

COMPILED, STACKED, TURNS = KINDS = ("compiled", "stacked", "turns")  # by machine code, call by call, one by one


class Decisions(list[str]):
    """Those of a population in order: when each is due follows from those before it. Those given are taken again."""

    def __init__(self, before: Iterable[str] = ()) -> None:
        super().__init__(before)
        self.taken = 0

    def begin(self, program: Program) -> None:
        """A program's first call: another population may have had it compiled."""
        if self._next(lambda: COMPILED if program.compiled else STACKED) == COMPILED:
            _compile(program)

    def decide(
        self, program: Program, left: float, figures: dict[str, float], alone: Callable[[], float] | None
    ) -> tuple[bool, str]:
        """Has a program compiled where that pays in the seconds of calls that are `left`.

        Whether the networks take turns from now on, since a step takes longer for each than `alone`; and what there is
        to say. `figures` has the seconds of a step for each, and gets what is measured.
        """
        how = ""

        def measured() -> str:
            nonlocal how
            if not program.compiled and left * GAIN >= program.expected():
                try:
                    program.compile()
                    return COMPILED
                except Untraceable as error:
                    how = f", that can't be compiled: {error}"
            if alone is None:
                return STACKED
            figures["alone"] = alone()
            return TURNS if figures["stacked"] > figures["alone"] else STACKED

        again = self.taken < len(self)
        decided = self._next(measured)
        if decided == COMPILED:
            _compile(program)
            figures["compiling"] = program.seconds
            how = f", compiled in {program.seconds:.1f} s"
        if decided == TURNS:
            each = [f"{figures[key] * 1e3:.2f} ms" for key in ("alone", "stacked") if key in figures]
            how = f", but take turns: {' a step alone, '.join(each)} stacked"
        return decided == TURNS, f"{how}, as before" if again and how else how

    def _next(self, measure: Callable[[], str]) -> str:
        if self.taken == len(self):
            self.append(measure())
        self.taken += 1
        return self[self.taken - 1]


def _compile(program: Program) -> None:
    """RunFailed where a program was compiled before, and can't be now."""
    if not program.compiled:
        try:
            program.compile()
        except Untraceable as error:
            raise RunFailed(f"its program was compiled before, and can't be now: {error}") from error

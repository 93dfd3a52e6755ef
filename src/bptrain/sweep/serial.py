"""The serial executor: the trials of a sweep, one after the other in this process."""

from __future__ import annotations

from collections.abc import Sequence

from bptrain.errors import Problem, RequestError
from bptrain.sweep.job import train
from bptrain.sweep.ledger import Ledger
from bptrain.sweep.plan import Trial
from bptrain.train.run import build


def run_all(trials: list[Trial], quiet: bool = False) -> int:
    """Runs every trial, whatever becomes of the others; returns the exit code of the sweep.

    RequestError, before anything is written, when none of the trials can be built.
    """
    _require_one(trials)
    with Ledger(trials, quiet) as ledger:
        one_by_one(trials, ledger)
    return ledger.close()


def one_by_one(trials: Sequence[Trial], ledger: Ledger) -> None:
    for trial in trials:
        ledger.begin([trial])
        try:
            summary = train(trial.config, trial.settings, ledger.job(trial), quiet=True)
        except Exception as error:
            ledger.fail(trial, error)
        else:
            ledger.finish(trial, summary)


def _require_one(trials: list[Trial]) -> None:
    """RequestError with all that is wrong when no trial can be built, as with a file of data that is not there."""
    problems: dict[Problem, None] = {}
    for trial in trials:
        try:
            build(trial.settings)
            return
        except RequestError as error:
            problems |= dict.fromkeys(error.problems)
        except Exception:  # the trial itself will tell
            return
    raise RequestError(list(problems))

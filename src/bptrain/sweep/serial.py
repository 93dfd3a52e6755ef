"""The serial executor: trials one after the other in this process."""

from __future__ import annotations

from collections.abc import Sequence

from bptrain.runs.directory import RunDirectory
from bptrain.sweep.job import resume, train
from bptrain.sweep.ledger import Failure, Told
from bptrain.sweep.plan import Trial
from bptrain.train.run import build


def run(trials: Sequence[Trial], ledger: Told) -> None:
    """Runs every trial, whatever becomes of the others."""
    for trial in trials:
        _run(trial, ledger)


def _run(trial: Trial, ledger: Told) -> None:
    if trial.begun is not None:
        return _go_on(trial, RunDirectory(trial.begun), ledger)
    try:
        run = build(trial.settings)
    except Exception as error:
        return ledger.refuse(trial, Failure.of(error))
    ledger.begin([trial])
    try:
        summary = train(run, trial.config, ledger.job(trial), quiet=True)
    except Exception as error:
        return ledger.fail(trial, Failure.of(error))
    return ledger.finish(trial, summary)


def _go_on(trial: Trial, directory: RunDirectory, ledger: Told) -> None:
    ledger.begin([trial])
    trust = [f"trust=[{','.join(trial.settings.trust)}]"] if trial.settings.trust else []
    try:
        summary = resume(directory, trust, quiet=True)
    except Exception as error:
        return ledger.fail(trial, Failure.of(error))
    return ledger.finish(trial, summary)

"""The serial executor: the trials of a sweep, one after the other in this process."""

from __future__ import annotations

import os
import traceback
from typing import Any

from bptrain import files
from bptrain.errors import BptrainError, GradientsWrong, Problem, RequestError, RunFailed
from bptrain.report.sweep import SweepConsole
from bptrain.runs.directory import create_sweep
from bptrain.sweep.job import train
from bptrain.sweep.plan import Trial
from bptrain.train.run import build


def run_all(trials: list[Trial], quiet: bool = False) -> int:
    """Runs every trial, whatever becomes of the others; returns the exit code of the sweep.

    That is 0 when all of them finished, 3 when some had wrong gradients and no other run failed, else 1.

    `sweep.json` in the sweep's directory is kept up to date: what each trial was and came to. RequestError, before
    anything is written, when none of the trials can be built.
    """
    _require_one(trials)
    path = create_sweep(trials[0].settings.name)
    console = SweepConsole(quiet, len(trials), path)
    ledger: list[dict[str, Any]] = []
    codes = set()
    with console:
        for trial in trials:
            console.start(trial.number, trial.words)
            ledger.append({"number": trial.number, "overrides": list(trial.words), "status": "running"})
            job = path / str(trial.number)
            try:
                files.write_json(path / "sweep.json", {"trials": ledger})
                summary = train(trial.config, trial.settings, job, quiet=True)
                ledger[-1].update(status=summary["status"], monitor=summary["monitor"], mode=summary["mode"])
                ledger[-1].update(best=summary.get("best"), test=summary.get("test"), seconds=summary["seconds"])
            except KeyboardInterrupt:
                ledger[-1]["status"] = "interrupted"
                raise
            except Exception as error:
                if os.environ.get("BPTRAIN_TRACEBACK") == "1":
                    traceback.print_exc()
                codes.add(error.exit_code if isinstance(error, BptrainError) else RunFailed.exit_code)
                ledger[-1].update(status="failed", reason=str(error) or type(error).__name__)
            finally:
                files.write_json(path / "sweep.json", {"trials": ledger})
            console.end(ledger[-1])
    console.table(ledger)
    wrong = GradientsWrong.exit_code in codes and RunFailed.exit_code not in codes
    return GradientsWrong.exit_code if wrong else min(1, len(codes))


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

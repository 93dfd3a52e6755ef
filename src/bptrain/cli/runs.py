"""`bptrain runs`: lists what is under outputs/."""

from __future__ import annotations

from pathlib import Path

from bptrain.cli.arguments import Arguments
from bptrain.errors import Problem, RequestError


def run(arguments: Arguments) -> int:
    from bptrain.report.listing import show_runs
    from bptrain.runs.listing import OUTPUTS, list_runs

    roots = [Path(word) for word in arguments.words]
    missing = [
        Problem("runs", f"there is no folder '{root}'.", "Name one, or none for outputs/.")
        for root in roots
        if not root.is_dir()
    ]
    if not roots and OUTPUTS.exists() and not OUTPUTS.is_dir():
        missing = [Problem("runs", f"{OUTPUTS} is a file: move it away.", "Or name a folder.")]
    if missing:
        raise RequestError(missing)
    show_runs([found for root in roots or [OUTPUTS] for found in list_runs(root)])
    return 0

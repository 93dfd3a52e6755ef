"""Dispatch: from the words of a command line to an exit code."""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback

from bptrain import interrupts
from bptrain.cli.arguments import Arguments, parse
from bptrain.errors import WIDEST, BptrainError, Problem, RequestError, printable, shortened
from bptrain.train.launch import launched, told_once

INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Runs a command line; an error is one message on stderr, with a traceback only under BPTRAIN_TRACEBACK=1."""
    code = _run(argv)
    try:
        sys.stdout.flush()
    except OSError as error:  # what Python itself would flush at the end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # a reader that has left wants no more
            code = code or _report(f"stdout: {error.strerror or error}.", 1)
    if launched() is not None and "torch" in sys.modules:
        from bptrain.train.distributed import leave

        leave(code)
    return code


def _run(argv: list[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the locale lacks fails no run
            stream.reconfigure(errors="backslashreplace")
    try:
        with told_once():
            arguments = parse(sys.argv[1:] if argv is None else argv)
            _trains_together(arguments)
        # A verb is imported when it is called, so that none pays for another's imports.
        verb = importlib.import_module(f"bptrain.cli.{arguments.verb}")
        alone = launched() is None  # else torchrun passes on what the terminal has sent already
        with interrupts.handled(once=not alone, wait=alone):
            return int(verb.run(arguments))
    except KeyboardInterrupt:
        launch = launched()
        return _report("interrupted." if launch is None or not launch.rank else "", INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has left
        return 1
    except BptrainError as error:
        return _report(str(error), error.exit_code)
    except Exception as error:
        if _out_of_memory(error):
            return _report("out of memory. Try a smaller fit.batch_size or model.", 1)
        what = shortened(next(iter(str(error).strip().splitlines()), type(error).__name__), WIDEST)
        return _report(f"{what} ({type(error).__name__}). BPTRAIN_TRACEBACK=1 shows where.", 1)


def _trains_together(arguments: Arguments) -> None:
    """RequestError when torchrun starts several processes for what takes one."""
    if launched() is not None and (arguments.verb not in ("train", "resume") or arguments.multirun):
        verb = "-m" if arguments.multirun else arguments.verb
        what = f"starts processes that train one run together, and {verb} is not that."
        raise RequestError(Problem("torchrun", what, f"Start bptrain {verb} by itself."))


def _out_of_memory(error: Exception) -> bool:
    """Python's own error, CUDA's, or what torch's allocator on the CPU says."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(error)


def _report(message: str, code: int) -> int:
    if os.environ.get("BPTRAIN_TRACEBACK") == "1":
        traceback.print_exc()
    for line in message.splitlines():
        print(f"bptrain: {printable(line)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

"""Dispatch: from the words of a command line to an exit code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from bptrain.cli.arguments import parse
from bptrain.errors import BptrainError

INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Runs a command line; an error is one message on stderr, with a traceback only under BPTRAIN_TRACEBACK=1."""
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        # A verb is imported when it is called, so that none pays for another's imports.
        verb = importlib.import_module(f"bptrain.cli.{arguments.verb}")
        with _terminable():
            return int(verb.run(arguments))
    except KeyboardInterrupt:
        return _report("interrupted.", INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BptrainError as error:
        return _report(str(error), error.exit_code)
    except MemoryError:
        return _report("out of memory. Try a smaller fit.batch_size or model.", 1)
    except Exception as error:
        what = str(error).strip() or type(error).__name__
        return _report(f"{what} ({type(error).__name__}). BPTRAIN_TRACEBACK=1 shows where.", 1)


@contextmanager
def _terminable() -> Iterator[None]:
    """A SIGTERM, by which schedulers and `kill` end a process, interrupts as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report(message: str, code: int) -> int:
    if os.environ.get("BPTRAIN_TRACEBACK") == "1":
        traceback.print_exc()
    for line in message.splitlines():
        print(f"bptrain: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

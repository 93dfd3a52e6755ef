"""Interrupts: SIGINT, SIGTERM and SIGHUP end training between two steps, where its state is whole; a second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Windows has no SIGHUP, nor what locks a run
PATIENCE = 4.0  # seconds that a step may still take; then training ends with the checkpoint it has

_waiting = 0  # how many of those that ask for interrupts are at work
_asked = False


@contextmanager
def handled(once: bool = False, wait: bool = True) -> Iterator[None]:
    """The signals raise KeyboardInterrupt inside: where somebody asks for them, and it may `wait`, at that moment.

    `once` ignores all after the first: where they come from a terminal and from the process that started this one.
    """
    global _asked
    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return
    came = False

    def interrupt(*_: object) -> None:
        global _asked
        nonlocal came
        if once and came:
            return
        came = True
        if _asked or not _waiting or not wait:
            raise KeyboardInterrupt
        _asked = True
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    hears = [s for s in SIGNALS if s != signal.SIGHUP or signal.getsignal(s) != signal.SIG_IGN]  # nohup has it ignored
    before = {number: signal.signal(number, interrupt) for number in hears}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _asked = False
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def awaited() -> Iterator[None]:
    """Inside, a first interrupt waits for `due`."""
    global _waiting
    _waiting += 1
    try:
        yield
    finally:
        _waiting -= 1


def asked() -> bool:
    """Whether an interrupt is waiting."""
    return _asked


def due() -> None:
    """To be called where the state is whole: KeyboardInterrupt if one was waiting."""
    global _asked
    if _asked:
        _asked = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise KeyboardInterrupt

"""Ctrl-C at a moment that suits: no child is left half started, no cleaning up is cut short."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Signals that arrived. No `threading.Event`: its lock hangs the second signal in the handler.
_told: list[int] = []


@contextmanager
def orderly() -> Iterator[None]:
    """Within, these signals end the work at its next `check` with `KeyboardInterrupt`.

    What cleans up does not check, so that a second Ctrl-C does not interrupt it. A signal that is
    ignored (nohup) stays so. For the main thread alone.
    """
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    former = {
        number: signal.signal(number, lambda number, _: _told.append(number)) for number in heard
    }
    try:
        yield
        check()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        _told.clear()


def check() -> None:
    """Raise `KeyboardInterrupt` when we were told to end."""
    if _told:
        raise KeyboardInterrupt

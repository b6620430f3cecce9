"""The command twistd, whose coverage is saved before it ends by the very signal that stopped it."""

from __future__ import annotations

import coverage
from twisted.application import app
from twisted.scripts.twistd import run

_end = app._exitWithSignal


def _save_and_end(number: int) -> None:
    measured = coverage.Coverage.current()
    if measured is not None:
        measured.stop()
        measured.save()
    _end(number)


if __name__ == "__main__":
    app._exitWithSignal = _save_and_end
    run()

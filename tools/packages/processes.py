"""Runs a program for a limited time, and leaves none of its processes behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tests.support.process_inspection import descendants, hold

REPOSITORY = Path(__file__).resolve().parents[2]
_PR_SET_CHILD_SUBREAPER = 36
#: Seconds between asking a program to end and killing it.
_GRACE = 20


class TimedOut(Exception):
    """A program took too long, and was ended."""


def run(words: Sequence[str], seconds: float, log: IO[str], *, text: str = "", directory: Path | None = None) -> int:
    """Run a program; return its exit status.

    Args:
        words: The program and its arguments.
        seconds: How long it may take.
        log: Takes what it prints.
        text: Its standard input.
        directory: Where it runs.

    Raises:
        TimedOut: It took longer.
    """
    # What it leaves behind becomes a child of this process.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "conformance")])
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    variables |= {"PYTHONPATH": paths, "PYTHONHASHSEED": "0", "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
    process = subprocess.Popen(
        words, cwd=directory, env=variables, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, text=True
    )
    try:
        process.communicate(text, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise TimedOut from error
    finally:
        for left in hold(descendants(os.getpid())):
            left.kill()
            left.wait(_GRACE)
        _reap()
    return process.returncode


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

"""A probe of an environment: tries two copies of its process, and discards them."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import NamedTuple

from gymtwist.worker import process_control, process_copy

#: Seconds without processor time after which a copy counts as stuck, and seconds that it may take in all.
_IDLE_LIMIT, _LIMIT = 3.0, 60.0
_INTERVAL_MS = 50
_MOST_BYTES = 4096


class Verdict(NamedTuple):
    """The findings of a probe.

    Attributes:
        answers: Whether both copies answered.
        alike: Whether they gave the same answer.
    """

    answers: bool
    alike: bool


class _Copy:
    """A copy on trial.

    Args:
        act: Called in the copy; returns its answer.
    """

    def __init__(self, act: Callable[[], bytes]) -> None:
        self.answer: bytes | None = None
        self.output, writer = os.pipe()
        try:
            self.pid = process_copy.fork()
        except OSError:
            os.close(self.output)
            os.close(writer)
            raise
        if self.pid == 0:
            try:
                os.write(writer, act())
            finally:
                os._exit(0)
        os.close(writer)
        self._used, self._used_at = 0, time.monotonic()

    def is_stuck(self) -> bool:
        """Return whether the copy has used no processor time for a while."""
        now, used = time.monotonic(), process_control.processor_ticks(self.pid)
        if used != self._used:
            self._used, self._used_at = used, now
        return now - self._used_at > _IDLE_LIMIT

    def end(self) -> None:
        """Kill the process, and the processes that it started."""
        process_copy.kill(self.pid)
        os.waitpid(self.pid, 0)
        os.close(self.output)


def probe(act: Callable[[], bytes]) -> Verdict:
    """Try two copies of this process.

    Args:
        act: Called in each copy; returns a short answer.

    Raises:
        OSError: No process can be started.
    """
    before = set(process_control.children())
    copies: list[_Copy] = []
    try:
        for _ in range(2):
            copies.append(_Copy(act))
        answers = _wait_for(copies)
    finally:
        for copy in copies:
            copy.end()
        # This process is a subreaper, so the processes that the copies started are now its children.
        for orphan in set(process_control.children()) - before:
            process_copy.kill(orphan)
            os.waitpid(orphan, 0)
    return Verdict(answers, answers and copies[0].answer == copies[1].answer)


def _wait_for(copies: list[_Copy]) -> bool:
    """Wait until all copies have answered; return False if one of them does not."""
    poll, deadline = select.poll(), time.monotonic() + _LIMIT
    for copy in copies:
        poll.register(copy.output, select.POLLIN)
    while waiting := [copy for copy in copies if copy.answer is None]:
        ready = {descriptor for descriptor, _ in poll.poll(_INTERVAL_MS)}
        for copy in waiting:
            if copy.output in ready:
                copy.answer = os.read(copy.output, _MOST_BYTES)
                poll.unregister(copy.output)
                if not copy.answer:
                    return False  # it has crashed
            elif copy.is_stuck():
                return False
        if time.monotonic() > deadline:
            return False
    return True

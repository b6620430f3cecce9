"""The server's end of AMP with a process below it, in which code of environments may run."""

from __future__ import annotations

import os
from typing import Any

from twisted.python.failure import Failure

from gymtwist.server.server_log import log
from gymtwist.worker.amp_commands import Link, Ping

#: Seconds in which an idle process must answer a ping, and in which it must begin a session.
ANSWER_TIMEOUT = 7.5
#: Seconds between two pings.
PING_INTERVAL = 2.5
#: Bytes of the longest box; AMP itself limits only its values, to 64 KiB each.
MAX_BOX = 128 * 1024


class ProcessLink(Link):
    """A link whose other end may be hostile: what does not belong on it ends the process, and costs nothing until then.

    Attributes:
        responsive: Whether the process is known to answer: it has imported everything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.responsive = False
        self._pinged_at: float | None = None
        self._unparsed = 0

    def dataReceived(self, data: bytes) -> None:
        """Parse received bytes."""
        self._unparsed += len(data)
        try:
            super().dataReceived(data)
        except Exception as error:  # AMP raises for what answers nothing
            self._break_off(f"{type(error).__name__}: {error}"[:200])
        else:
            if self._unparsed > MAX_BOX:
                self._break_off(f"a box of more than {MAX_BOX} bytes")

    def ampBoxReceived(self, box: Any) -> None:
        """Handle a box."""
        self._unparsed = 0
        super().ampBoxReceived(box)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Close a descriptor: no process below the server has one to send."""
        os.close(descriptor)

    def _break_off(self, problem: str) -> None:
        log.error("A process violated the AMP protocol ({problem}), and is killed", problem=problem)
        self.kill_process()

    def kill_process(self) -> None:
        """Kill the process at the other end."""
        raise NotImplementedError

    def ping(self, now: float) -> float:
        """Ask the process to answer, unless it is asked already.

        Args:
            now: The time in seconds.

        Returns:
            Seconds that its answer has been due for.
        """
        if self._pinged_at is None:
            self._pinged_at = now
            self.callRemote(Ping).addCallbacks(self._answered, _ignore)
        return 0.0 if self._pinged_at is None else now - self._pinged_at

    def _answered(self, answer: object) -> None:
        self._pinged_at = None
        self.responsive = True


def _ignore(failure: Failure) -> None:
    """Leave the end of a process to whoever waits for it."""

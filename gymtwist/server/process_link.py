"""The server's end of the AMP link to a subprocess in which environments' code may run."""

from __future__ import annotations

import os
from typing import Any

from twisted.python.failure import Failure

from gymtwist.server.server_log import log
from gymtwist.worker.amp_commands import Link, Ping

#: Seconds that an idle process has to answer a ping, or to begin a session.
ANSWER_TIMEOUT = 7.5
#: Seconds between pings.
PING_INTERVAL = 2.5
#: The maximum size of a box, in bytes; AMP itself limits only each value, to 64 KiB.
MAX_BOX = 128 * 1024


class ProcessLink(Link):
    """A link whose other end may be hostile: anything invalid ends the process, and uses bounded memory until then.

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
        except Exception as error:  # AMP raises for an answer to no question
            self._break_off(f"{type(error).__name__}: {error}"[:200])
        else:
            if self._unparsed > MAX_BOX:
                self._break_off(f"a box of more than {MAX_BOX} bytes")

    def ampBoxReceived(self, box: Any) -> None:
        """Handle a box."""
        self._unparsed = 0
        super().ampBoxReceived(box)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Close a descriptor: no subprocess has a reason to send one."""
        os.close(descriptor)

    def _break_off(self, problem: str) -> None:
        log.error("A process violated the AMP protocol ({problem}), and is killed", problem=problem)
        self.kill_process()

    def kill_process(self) -> None:
        """Kill the process at the other end."""
        raise NotImplementedError

    def ping(self, now: float) -> float:
        """Ping the process, unless a ping is still unanswered.

        Args:
            now: The current time, in seconds.

        Returns:
            The time since the unanswered ping, in seconds; 0 if there is none.
        """
        if self._pinged_at is None:
            self._pinged_at = now
            self.callRemote(Ping).addCallbacks(self._answered, _ignore)
        return 0.0 if self._pinged_at is None else now - self._pinged_at

    def _answered(self, answer: object) -> None:
        self._pinged_at = None
        self.responsive = True


def _ignore(failure: Failure) -> None:
    """Ignore the end of a process: whoever waits for it handles it."""

"""The end of a process that this one has started, as reported by the kernel; see pidfd_open(2)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class ProcessEnd:
    """Reports when a process ends, even if a process that it left behind keeps its socket open.

    Args:
        reactor: The reactor.
        process: The id of the process, which must not have been reaped yet.
        ended: Called once, when it ends.

    Raises:
        OSError: There are no descriptors left.
    """

    def __init__(self, reactor: Any, process: int, ended: Callable[[], object]) -> None:
        self._reactor, self._ended = reactor, ended
        self._descriptor = os.pidfd_open(process)
        reactor.addReader(self)

    def logPrefix(self) -> str:
        """Return the name for the reactor's log; called by Twisted."""
        return "process end"

    def fileno(self) -> int:
        """Return the descriptor; called by the reactor."""
        return self._descriptor

    def doRead(self) -> None:
        """Report the end; called by the reactor."""
        self.close("")
        self._ended()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop; called by the reactor when it stops."""
        self.close("")

    def close(self, how: str) -> str:
        """Stop waiting for the end; return ``how`` unchanged, for use as a callback."""
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1
        return how

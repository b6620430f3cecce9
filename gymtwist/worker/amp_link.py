"""AMP as both ends of a link between the server and its children speak it."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure


class Link(amp.AMP):
    """AMP without the two lines that ``amp.AMP`` logs of each connection: there are several to each session."""

    def makeConnection(self, transport: Any) -> None:
        """Connect to a transport."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the calls that wait for an answer, and those to come."""
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None

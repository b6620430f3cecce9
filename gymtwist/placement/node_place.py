"""A session's place on a node: the resources it holds there, and the connection to it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from gymtwist.placement.node import Node
from gymtwist.placement.node_commands import TICKET_BYTES
from gymtwist.placement.node_resources import Demand
from gymtwist.placement.session_relay import Connecting


class NodePlace:
    """The place that a session holds on a node, from when it enters until it leaves.

    The constructor calls none of the functions that it is given. The session has arrived once the node knows its
    ticket and the connection is made, in either order.

    Args:
        reactor: The reactor.
        node: The node.
        session: The session, which the node calls to report on it or to say that its ticket has expired.
        demand: The resources that the session needs.
        arrived: Called with the connection when the session has arrived; the ticket is still to be sent on it.
        failed: Called with the reason, as a clause, if the session cannot arrive.

    Attributes:
        node: The node.
        ticket: The session's ticket there.
        gpus: The ids of its GPUs; None on a node without GPUs.
    """

    def __init__(
        self,
        reactor: Any,
        node: Node,
        session: Any,
        demand: Demand,
        arrived: Callable[[socket.socket], None],
        failed: Callable[[str], None],
    ) -> None:
        self.node = node
        self.ticket = os.urandom(TICKET_BYTES).hex().encode()
        self.gpus = node.enter(self.ticket, session, demand)
        self._reactor = reactor
        self._arrived, self._failed = arrived, failed
        self._is_left = self._is_known = False
        self._connecting: Connecting | None = None
        self._connection: socket.socket | None = None

    def when_open(self, act: Callable[[], None]) -> None:
        """Call a function when sessions can begin on the node, unless this one leaves first."""
        self.node.when_open(lambda: None if self._is_left else act())

    def announce(self, known: Callable[[], None], **fields: Any) -> None:
        """Tell the node to expect the session.

        Args:
            known: Called when the node knows its ticket.
            fields: The fields of :class:`~.node_commands.Expect`, without the ticket.
        """

        def note_known(_: object) -> None:
            if not self._is_left:
                self._is_known = True
                known()
                self._arrive()

        expecting = self.node.expect(ticket=self.ticket, **fields)
        expecting.addCallbacks(note_known, lambda failure: self._fail(failure.getErrorMessage()))

    def connect(self) -> None:
        """Start to connect to the node."""
        try:
            self._connecting = Connecting(self._reactor, self.node.info.host, self.node.info.port, self._connected)
        except OSError as error:
            self._reactor.callLater(0, self._fail, f"it cannot be reached: {error.strerror}")

    def end(self, *, kill: bool) -> None:
        """Have the node end the session."""
        self.node.end(self.ticket, kill=kill)

    def leave(self) -> None:
        """Release the resources, and close the connection unless the session has taken it over."""
        self._is_left = True
        self.node.leave(self.ticket)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self, connection: socket.socket | None, problem: str) -> None:
        self._connecting = None
        if connection is None:
            self._fail(f"it cannot be reached: {problem}")
        else:
            self._connection = connection
            self._arrive()

    def _arrive(self) -> None:
        if self._is_known and self._connection is not None:
            connection, self._connection = self._connection, None
            self._arrived(connection)

    def _fail(self, how: str) -> None:
        if not self._is_left:
            self._failed(how)

"""The AMP commands between the front and a node, over the node's control port."""

from __future__ import annotations

from twisted.protocols import amp

#: The sizes in bytes of secrets and tickets, which are random and written in hexadecimal.
SECRET_BYTES = 32
TICKET_BYTES = 16
#: Seconds between heartbeats, and seconds without an answer after which a node is lost.
BEAT_INTERVAL, BEAT_TIMEOUT = 0.5, 1.75
#: Seconds without a heartbeat after which a node ends, along with all its sessions.
FRONT_TIMEOUT = 3.0
#: Seconds between reports of a session that makes progress.
REPORT_INTERVAL = 1.0
#: Seconds in which a ticket must be used.
TICKET_TIMEOUT = 10.0


class Refused(Exception):
    """The node refuses to do what it was asked; the message is the reason."""


class Enter(amp.Command):
    """Front to node, first: prove that you know the node's secret."""

    arguments = [(b"secret", amp.String()), (b"version", amp.Unicode())]
    errors = {Refused: b"REFUSED"}


class Beat(amp.Command):
    """Front to node: show that you are alive; the node learns that the front is."""


class Expect(amp.Command):
    """Front to node: serve the connection that presents this ticket.

    With a recovery reply, this continues a session that another node has lost: the client first gets this reply, and
    the environment is made again from the make message, if there is one.
    """

    arguments = [
        (b"ticket", amp.String()),
        (b"session", amp.Integer()),
        (b"protocol", amp.String()),
        (b"handshake", amp.String()),
        (b"recovery_reply", amp.String()),
        (b"make", amp.String()),
        (b"overrides", amp.String()),
    ]


class End(amp.Command):
    """Front to node: end a session, or kill its process."""

    arguments = [(b"ticket", amp.String()), (b"kill", amp.Boolean())]
    requiresAnswer = False


class Report(amp.Command):
    """Node to front: what a session has done so far, with the time by the node's clock."""

    arguments = [
        (b"ticket", amp.String()),
        (b"now", amp.Float()),
        (b"words", amp.String()),
        (b"memory", amp.Integer()),
        (b"processor_time", amp.Float()),
    ]
    requiresAnswer = False


class Ended(amp.Command):
    """Node to front: a session has ended; its last output is on its way to the client."""

    arguments = [
        (b"ticket", amp.String()),
        (b"reason", amp.Unicode()),
        (b"processor_time", amp.Float()),
        (b"now", amp.Float()),
        (b"words", amp.String()),
    ]
    requiresAnswer = False


class Expired(amp.Command):
    """Node to front: no connection has presented a ticket in time, and now none can."""

    arguments = [(b"ticket", amp.String())]
    requiresAnswer = False

"""The AMP commands between the server, its workers and its fork server, and the protocol that carries them."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure


class Link(amp.AMP):
    """AMP without the two log lines that ``amp.AMP`` writes per connection: each session has several connections."""

    def makeConnection(self, transport: Any) -> None:
        """Connect to a transport."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail all pending calls, and all later ones."""
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None


class Serve(amp.Command):
    """Server to worker: serve this connection; the answer is the reason why the session ended.

    ``overrides`` has the settings, as JSON, that differ for the client's identity.
    With ``recovery_reply``, the worker resumes a session whose process has died, and first sends the client this reply.
    With ``channel``, the session outlives its connection; ``resume`` is what the client needs to reconnect, as JSON.
    """

    arguments = [
        (b"session", amp.Integer()),
        (b"protocol", amp.String()),
        (b"handshake", amp.String()),
        (b"trailing_data", amp.String()),
        (b"recovery_reply", amp.String()),
        (b"directory", amp.Unicode()),
        (b"overrides", amp.String()),
        (b"user", amp.Integer()),
        (b"socket", amp.Descriptor()),
        (b"status", amp.Descriptor()),
        (b"resume", amp.String(optional=True)),
        (b"channel", amp.Descriptor(optional=True)),
    ]
    response = [(b"reason", amp.Unicode()), (b"processor_time", amp.Float(optional=True))]


class Branch(amp.Command):
    """Server to a worker that leads a group of processes: fork a process off a snapshot.

    The new process speaks AMP over one descriptor and prints to the other. The answer has its process id, or the reason
    why there is none.
    """

    arguments = [(b"ticket", amp.Unicode()), (b"amp", amp.Descriptor()), (b"output", amp.Descriptor())]
    response = [(b"pid", amp.Integer()), (b"code", amp.Unicode()), (b"problem", amp.Unicode())]


class Reconnect(amp.Command):
    """Server to worker, over the channel of a session: continue with this connection.

    ``received`` is how many replies the client has received; absent if the client does not know.
    """

    arguments = [
        (b"received", amp.Integer(optional=True)),
        (b"trailing_data", amp.String()),
        (b"socket", amp.Descriptor()),
    ]


class Disconnected(amp.Command):
    """Worker to server, over the channel of a session: the connection has ended, and the session waits for another."""

    requiresAnswer = False


class Ping(amp.Command):
    """Server to an idle worker, or to the fork server: show that you are responding."""


class Shutdown(amp.Command):
    """Server to worker, or to the fork server: exit.

    Ampoule's pool sends this command. Importing ampoule's definition would install a reactor in the worker.
    """

    commandName = b"Shutdown"
    responseType = amp.QuitBox


class ResponderLink(Link):
    """The AMP end of a worker or the fork server: it answers pings, and ends its loop when told to exit."""

    @Ping.responder
    def ping(self) -> dict[str, Any]:
        """Answer a ping."""
        return {}

    @Shutdown.responder
    def shut_down(self) -> dict[str, Any]:
        """End the loop that feeds this protocol."""
        return {}


class Fork(amp.Command):
    """Server to fork server: fork a worker that speaks AMP over one descriptor and prints to the other."""

    arguments = [(b"amp", amp.Descriptor()), (b"output", amp.Descriptor())]
    response = [(b"pid", amp.Integer())]
    errors = {OSError: b"OS_ERROR"}


class Kill(amp.Command):
    """Server to fork server: kill a worker that has closed the socket through which the server would kill it."""

    arguments = [(b"pid", amp.Integer())]
    requiresAnswer = False


class Adopt(amp.Command):
    """Server to fork server: a process forked by a worker serves a session; do not end it with that worker."""

    arguments = [(b"pid", amp.Integer())]
    requiresAnswer = False


class Disown(amp.Command):
    """Server to fork server: the adopted process has ended."""

    arguments = [(b"pid", amp.Integer())]
    requiresAnswer = False


class Exited(amp.Command):
    """Fork server to server: a worker has ended, and all processes that it started are gone."""

    arguments = [(b"pid", amp.Integer()), (b"status", amp.Integer())]
    requiresAnswer = False

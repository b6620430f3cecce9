"""The AMP verbs between the server, its children and its fork server."""

from __future__ import annotations

from twisted.protocols import amp


class Serve(amp.Command):
    """Server to child: serve this connection; the answer is the summary of the session.

    With a greeting, go on with a session whose process has died: the client gets the greeting first.
    """

    arguments = [
        (b"session", amp.Integer()),
        (b"protocol", amp.String()),
        (b"handshake", amp.String()),
        (b"trailing_data", amp.String()),
        (b"recovery_reply", amp.String()),
        (b"socket", amp.Descriptor()),
        (b"status", amp.Descriptor()),
    ]
    response = [(b"reason", amp.Unicode())]


class Shutdown(amp.Command):
    """Server to child: end yourself.

    Ampoule's pool sends this command; importing its own definition would install a reactor in the child.
    """

    commandName = b"Shutdown"
    responseType = amp.QuitBox


class Fork(amp.Command):
    """Server to fork server: start a child that speaks AMP over one descriptor and prints to the other."""

    arguments = [(b"amp", amp.Descriptor()), (b"output", amp.Descriptor())]
    response = [(b"pid", amp.Integer())]
    errors = {OSError: b"OS_ERROR"}


class Kill(amp.Command):
    """Server to fork server: kill a child that has let go of the link by which the server would kill it."""

    arguments = [(b"pid", amp.Integer())]
    requiresAnswer = False


class Exited(amp.Command):
    """Fork server to server: a child has ended, and nothing that it started is left."""

    arguments = [(b"pid", amp.Integer()), (b"status", amp.Integer())]
    requiresAnswer = False

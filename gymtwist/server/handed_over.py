"""What a replacement process gets from the process it replaces: open sockets, and what it must know about that process.

It comes in an environment variable, which is read and removed when this module is imported.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
from twisted.protocols import amp

VARIABLE = "GYMSOCK_HANDED_OVER"


class Predecessor(msgspec.Struct):
    """An earlier process that keeps its sessions.

    Attributes:
        process: The process id.
        link: The descriptor of the socket to it.
        sessions: The number of its sessions.
    """

    process: int
    link: int
    sessions: int


class HandedOver(msgspec.Struct):
    """What was handed over; all descriptors are valid in this process.

    Attributes:
        process: The id of the process being replaced.
        link: The descriptor of the socket to that process.
        stderr: The descriptor for errors once this process has taken over.
        pidfile: The server's PID file; empty for none.
        sockets: The name of each port, with the descriptor of its listening socket.
        predecessors: The earlier processes that still run.
        first_session: The number of the first session.
        names: The names of all ports that were handed over.
    """

    process: int
    link: int
    stderr: int
    pidfile: str
    sockets: list[tuple[str, int]]
    predecessors: list[Predecessor]
    first_session: int
    names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.names = frozenset(name for name, _ in self.sockets)

    def take(self, name: str) -> socket.socket | None:
        """Take the socket of a port; None if there is none, or it was already taken."""
        for number, (each, descriptor) in enumerate(self.sockets):
            if each == name:
                del self.sockets[number]
                taken = socket.socket(fileno=descriptor)
                taken.setblocking(False)
                return taken
        return None

    def had(self, name: str) -> bool:
        """Return whether a socket of this name was handed over, whether taken or not."""
        return name in self.names

    def close_rest(self) -> None:
        """Close the sockets that were not taken: the configuration has changed."""
        for _, descriptor in self.sockets:
            os.close(descriptor)
        self.sockets.clear()

    def detach(self) -> None:
        """Continue in a child of the server's supervisor, such as systemd, so that it sees the exit status."""
        if os.fork():
            os._exit(0)
        os.write(self.link, _serialized(Started, process=os.getpid()))


@contextlib.contextmanager
def told_to_predecessor() -> Iterator[None]:
    """If this process replaces another, tell that one why this one cannot start: the operator is waiting for it there.

    ``sys.stderr`` is part of the log by then.
    """
    try:
        yield
    except BaseException as error:
        tell_predecessor(error)
        raise


def tell_predecessor(problem: object) -> None:
    """Tell the process being replaced, if there is one, why this one ends."""
    if HANDED_OVER is not None:
        first_line = str(problem).partition("\n")[0] or type(problem).__name__
        os.write(2, f"{first_line}\n".encode(errors="replace"))


def _read() -> HandedOver | None:
    text = os.environ.pop(VARIABLE, None)
    if text is None:
        return None
    handed_over = msgspec.json.decode(text, type=HandedOver)
    predecessors = [each.link for each in handed_over.predecessors]
    listening = [descriptor for _, descriptor in handed_over.sockets]
    for descriptor in (handed_over.link, handed_over.stderr, *listening, *predecessors):
        os.set_inheritable(descriptor, False)
    return handed_over


# The messages between the process being replaced and its replacement


class Started(amp.Command):
    """From the new process: it has begun to start."""

    arguments = [(b"process", amp.Integer())]
    requiresAnswer = False


class Ready(amp.Command):
    """From the new process: it is ready to serve."""

    requiresAnswer = False


class TakeOver(amp.Command):
    """To the new process: it owns the ports from now on, and the old process has this many sessions."""

    arguments = [(b"sessions", amp.Integer())]


class Remaining(amp.Command):
    """To the new process: how many sessions the old one still has."""

    arguments = [(b"sessions", amp.Integer())]
    requiresAnswer = False


class Introduce(amp.Command):
    """From the new process: list your instances of gym-http-api; the answer comes when all are listed."""


class Instances(amp.Command):
    """To the new process: the gym-http-api instances that the old one has."""

    arguments = [(b"names", amp.ListOf(amp.Unicode()))]
    requiresAnswer = False


class Forward(amp.Command):
    """From the new process: answer the request on a connection; it is for one of your instances.

    The descriptor is sent beside the command. AMP's ``Descriptor`` arguments are numbered from the start of the link,
    on which another process may have sent some.
    """


class Stop(amp.Command):
    """From the new process: stop, as on SIGTERM."""

    requiresAnswer = False


def _serialized(command: type[amp.Command], **arguments: Any) -> bytes:
    box = amp.Box(command.makeArguments(arguments, None))
    box[b"_command"] = command.commandName
    return bytes(box.serialize())


#: What this process was started with; None if it replaces no other process.
HANDED_OVER = _read()

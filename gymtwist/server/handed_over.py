"""What a process that replaces another one has from that: open sockets, and what it must know of it.

It comes in a variable of the environment, which is read and removed when this module is imported.
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
    """An earlier process that goes on with its sessions.

    Attributes:
        process: Its number.
        link: The descriptor of the socket to it.
        sessions: How many sessions it has.
    """

    process: int
    link: int
    sessions: int


class HandedOver(msgspec.Struct):
    """What was handed over; descriptors are those of this process.

    Attributes:
        process: The number of the process that is to be replaced.
        link: The socket to it.
        stderr: Where errors go once this process has taken over.
        pidfile: The file with the number of the server's process; empty for none.
        sockets: The listening sockets by the names of their ports.
        predecessors: The earlier processes that still run.
        first_session: The number of the first session.
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
        """Take the socket of a port; None if there is none, or if it was taken."""
        for number, (each, descriptor) in enumerate(self.sockets):
            if each == name:
                del self.sockets[number]
                taken = socket.socket(fileno=descriptor)
                taken.setblocking(False)
                return taken
        return None

    def had(self, name: str) -> bool:
        """Return whether there was a socket of this name, taken or not."""
        return name in self.names

    def close_rest(self) -> None:
        """Close the sockets that were not taken: the configuration has changed."""
        for _, descriptor in self.sockets:
            os.close(descriptor)
        self.sockets.clear()

    def detach(self) -> None:
        """Go on in a child of the process that looks after the server, such as systemd, so that it sees how it ends."""
        if os.fork():
            os._exit(0)
        os.write(self.link, _serialized(Started, process=os.getpid()))


@contextlib.contextmanager
def told_to_predecessor() -> Iterator[None]:
    """Tell the process that is to be replaced, if there is one, why this one cannot start: its operator waits for it.

    ``sys.stderr`` is part of the log by then.
    """
    try:
        yield
    except BaseException as error:
        tell_predecessor(error)
        raise


def tell_predecessor(problem: object) -> None:
    """Tell the process that is to be replaced, if there is one, why this one ends."""
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


# The messages between the process that is to be replaced and the one that replaces it


class Started(amp.Command):
    """From the new process: it has begun to start."""

    arguments = [(b"process", amp.Integer())]
    requiresAnswer = False


class Ready(amp.Command):
    """From the new process: it can serve."""

    requiresAnswer = False


class TakeOver(amp.Command):
    """To the new process: the ports are its own from now on, and the old one has this many sessions."""

    arguments = [(b"sessions", amp.Integer())]


class Remaining(amp.Command):
    """To the new process: how many sessions the old one still has."""

    arguments = [(b"sessions", amp.Integer())]
    requiresAnswer = False


class Introduce(amp.Command):
    """From the new process: tell your instances of gym-http-api; the answer comes when all are told."""


class Instances(amp.Command):
    """To the new process: instances of gym-http-api that the old one has."""

    arguments = [(b"names", amp.ListOf(amp.Unicode()))]
    requiresAnswer = False


class Forward(amp.Command):
    """From the new process: answer the request of a connection, for one of your instances.

    The descriptor comes beside the command. AMP's own numbers descriptors from the beginning of the link, on which
    another process may have sent some.
    """


class Stop(amp.Command):
    """From the new process: stop, as at SIGTERM."""

    requiresAnswer = False


def _serialized(command: type[amp.Command], **arguments: Any) -> bytes:
    box = amp.Box(command.makeArguments(arguments, None))
    box[b"_command"] = command.commandName
    return bytes(box.serialize())


#: What this process was started with; None if it replaces no other one.
HANDED_OVER = _read()

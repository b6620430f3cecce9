"""The sockets of the judge: one connection after another, until every part was tried."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping

from gymtwist.conformance.client.judge import Judge, missing
from gymtwist.conformance.client.parts import Part
from gymtwist.conformance.report import Outcome, Result

_CHUNK = 64 * 1024


def listen(host: str, port: int) -> socket.socket:
    """Listen for clients; port 0 is any that is free."""
    return socket.create_server((host, port))


def judge_clients(
    listener: socket.socket, parts: Mapping[str, Part], patience: float, pause: float
) -> Iterator[Result]:
    """Judge connections until each part was tried once, or until nobody comes any more.

    Args:
        listener: Where clients connect.
        parts: What they are to play, by the id of the environment.
        patience: Seconds that the judge waits for a connection, and for every message.
        pause: Seconds between the pieces of a reply that is cut.

    Yields:
        The verdicts, as soon as they are there.
    """
    seen: set[str] = set()
    listener.settimeout(patience)
    while len(seen) < len(parts):
        try:
            connection = listener.accept()[0]
        except TimeoutError:
            break
        with connection:
            judge = Judge(parts)
            late = _play(connection, judge, patience, lambda: time.sleep(pause))
        yield from judge.ended()
        if late:
            name = judge.part.name if judge.part else "opening"
            protocol = judge.protocol.value if judge.protocol else ""
            yield Result(f"{name}.patience", protocol, Outcome.FAIL, late)
        if judge.part:
            seen.add(judge.part.name)
    yield from missing(parts, seen)


def _play(connection: socket.socket, judge: Judge, patience: float, pause: Callable[[], None]) -> str:
    """Play with one client.

    Returns:
        What took it too long; empty if nothing did.
    """
    connection.settimeout(patience)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while data := connection.recv(_CHUNK):
            for index, piece in enumerate(judge.received(data)):
                if index:
                    pause()
                connection.sendall(piece)
            if judge.over:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
    except TimeoutError:
        after = "behind the last reply: it did not close the connection" if judge.over else "where a request was due"
        return f"the client sent nothing for {patience:g} s {after}"
    except OSError:
        pass  # it went away without a word; what it left undone is in the verdict
    return ""

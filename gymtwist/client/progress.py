"""The progress of a client that connects: what it waits for, as a callback is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

#: The most seconds between two reports of a wait that goes on.
INTERVAL = 1.0


class Progress(NamedTuple):
    """What a client waits for.

    Attributes:
        stage: "connecting" while the server is not up, or refuses because it is full or stopping, "queued" while it
            has no free session, "making" while it makes the environment.
        seconds: The seconds since the client began to connect, or since it asked for the environment.
        place: The place in the server's queue, 1 being the first; the last one of several processes. None if not
            "queued".
    """

    stage: Literal["connecting", "queued", "making"]
    seconds: float
    place: int | None = None


#: Takes a report; what it raises ends the wait and the connection.
Report: TypeAlias = Callable[[Progress], object]

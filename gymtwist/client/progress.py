"""The progress of a connecting client, reported to a callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

#: The maximum number of seconds between two reports during a wait.
INTERVAL = 1.0


class Progress(NamedTuple):
    """What a client is waiting for.

    Attributes:
        stage: "connecting" while the server is not up, or refuses because it is full or stopping, "queued" while it
            has no free session, "making" while it makes the environment.
        seconds: The seconds since the client began to connect, or since it asked for the environment.
        place: The place in the server's queue, from 1; with several processes, the last of their places. None if not
            "queued".
    """

    stage: Literal["connecting", "queued", "making"]
    seconds: float
    place: int | None = None


#: Takes a report; an exception that it raises ends the wait and the connection.
Report: TypeAlias = Callable[[Progress], object]

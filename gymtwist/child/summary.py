"""What is told of a session when it has ended."""

from __future__ import annotations

import msgspec

CLIENT_LEFT = "the client left"


class Summary(msgspec.Struct, frozen=True):
    """The summary of a session.

    Attributes:
        reason: Why it ended, as a clause for the log.
        steps: How many steps were taken.
        episodes: How many episodes came to their end.
    """

    reason: str
    steps: int
    episodes: int

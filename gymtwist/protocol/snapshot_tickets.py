"""The tickets by which sessions branch off snapshots: the number of a session, and a secret."""

from __future__ import annotations

import os

_SECRET_BYTES = 16
#: Follows the session's number instead of a secret: no session can branch off.
_STATE = "state"


def ticket_of(session: int) -> str:
    """Return the ticket of a new snapshot.

    Args:
        session: The number of the snapshot's session.
    """
    return f"{session}-{os.urandom(_SECRET_BYTES).hex()}"


def ticket_of_state(session: int) -> str:
    """Return the ticket of a snapshot that is only a saved state, which no session can branch off.

    Args:
        session: The number of the snapshot's session.
    """
    return f"{session}-{_STATE}"


def is_of_state(ticket: str) -> bool:
    """Return whether a ticket belongs to a snapshot that is only a saved state."""
    return ticket.partition("-")[2] == _STATE


def session_of(ticket: str) -> int:
    """Return the number of the session that a ticket's snapshot belongs to; -1 if the ticket has none."""
    number = ticket.partition("-")[0]
    return int(number) if number.isascii() and number.isdecimal() else -1

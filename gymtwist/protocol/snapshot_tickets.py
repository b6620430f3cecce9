"""The tickets by which sessions branch off snapshots: the number of a session, and a secret."""

from __future__ import annotations

import os

_SECRET_BYTES = 16
#: Behind the number of a session, instead of a secret: no session branches off.
_STATE = "state"


def ticket_of(session: int) -> str:
    """Return the ticket of a new snapshot.

    Args:
        session: The number of its session.
    """
    return f"{session}-{os.urandom(_SECRET_BYTES).hex()}"


def ticket_of_state(session: int) -> str:
    """Return the ticket of a snapshot that is a state in a process, off which no session branches.

    Args:
        session: The number of its session.
    """
    return f"{session}-{_STATE}"


def is_of_state(ticket: str) -> bool:
    """Return whether a ticket is that of such a snapshot."""
    return ticket.partition("-")[2] == _STATE


def session_of(ticket: str) -> int:
    """Return the number of the session whose snapshot has a ticket; -1 if there is none."""
    number = ticket.partition("-")[0]
    return int(number) if number.isascii() and number.isdecimal() else -1

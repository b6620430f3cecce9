"""The messages of the framed protocol for snapshots, which save and restore a session's environment.

To branch off a snapshot, a new session uses the field ``branch`` of :class:`~gymtwist.protocol.make_messages.Make`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gymtwist.protocol.messages import Message, Warnings

#: The number of a snapshot, from 1 in each session.
_Number = Annotated[int, Meta(ge=1)]


class Snapshot(Message, frozen=True, tag="snapshot", forbid_unknown_fields=True):
    """Take a snapshot of the environment, with the state of its episode and its random numbers."""


class Restore(Message, frozen=True, tag="restore", forbid_unknown_fields=True):
    """Return to a snapshot, which can be restored again."""

    snapshot: _Number


class Release(Message, frozen=True, tag="release", forbid_unknown_fields=True):
    """Release a snapshot."""

    snapshot: _Number


class SnapshotTaken(Message, frozen=True, tag="snapshot"):
    """The reply to :class:`Snapshot`.

    Attributes:
        snapshot: The number of the snapshot.
        ticket: The ticket by which other sessions branch off, until the snapshot is released. Keep it secret.
        warnings: What the client should know about its request.
    """

    snapshot: int
    ticket: str
    warnings: Warnings = ()


class Restored(Message, frozen=True, tag="restore"):
    """The reply to :class:`Restore`.

    Attributes:
        playing: Whether an episode is in progress; otherwise, a reset must follow.
        warnings: What the client should know about its request.
    """

    playing: bool
    warnings: Warnings = ()


class Released(Message, frozen=True, tag="release"):
    """The reply to :class:`Release`.

    Attributes:
        held: The number of snapshots that the session still holds.
        warnings: What the client should know about its request.
    """

    held: int
    warnings: Warnings = ()

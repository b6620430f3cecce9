"""The messages of the framed protocol for snapshots: a session's environment is kept as it is, and goes on from there.

A session branches off a snapshot by the field ``branch`` of :class:`~gymtwist.protocol.make_messages.Make`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gymtwist.protocol.messages import Message, Warnings

#: The number of a snapshot; 1 is the first of its session.
_Number = Annotated[int, Meta(ge=1)]


class Snapshot(Message, frozen=True, tag="snapshot", forbid_unknown_fields=True):
    """Keep the environment as it is now, with the state of its episode and of its random numbers."""


class Restore(Message, frozen=True, tag="restore", forbid_unknown_fields=True):
    """Go on from a snapshot, which can be restored again."""

    snapshot: _Number


class Release(Message, frozen=True, tag="release", forbid_unknown_fields=True):
    """Give a snapshot up."""

    snapshot: _Number


class SnapshotTaken(Message, frozen=True, tag="snapshot"):
    """The reply to :class:`Snapshot`.

    Attributes:
        snapshot: The number of the snapshot.
        ticket: What another session branches off by, as long as the snapshot is not released. Keep it secret.
        warnings: What the client should know of its request.
    """

    snapshot: int
    ticket: str
    warnings: Warnings = ()


class Restored(Message, frozen=True, tag="restore"):
    """The reply to :class:`Restore`.

    Attributes:
        playing: Whether an episode goes on there; otherwise a reset is next.
        warnings: What the client should know of its request.
    """

    playing: bool
    warnings: Warnings = ()


class Released(Message, frozen=True, tag="release"):
    """The reply to :class:`Release`.

    Attributes:
        held: The number of snapshots that the session still holds.
        warnings: What the client should know of its request.
    """

    held: int
    warnings: Warnings = ()

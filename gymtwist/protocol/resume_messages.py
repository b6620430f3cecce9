"""The messages of the framed protocol by which a session outlives its connection.

A client asks for it in ``make`` and gets a secret. Both sides count the requests that follow and their replies, so none
needs a number of its own.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gymtwist.protocol.messages import MAX_TOKEN, Message, Warnings

#: The bytes of replies that a server keeps beside the last one.
KEPT_BYTES = 1 << 20
#: The longest secret in characters.
MAX_SECRET = 128


class Resume(Message, frozen=True, tag="resume", forbid_unknown_fields=True):
    """Go on with a session whose connection was lost; the first request of another connection.

    Attributes:
        secret: What the reply to ``make`` has in ``resume``.
        received: How many replies the client has received since that one; None if it does not know, as after a restart:
            then only the last reply is sent again.
        token: The client's token, if the server needs one.
    """

    secret: Annotated[str, Meta(min_length=1, max_length=MAX_SECRET)]
    received: Annotated[int, Meta(ge=0)] | None = None
    token: Annotated[str, Meta(max_length=MAX_TOKEN)] | None = None


class Resumed(Message, frozen=True, tag="resume"):
    """The reply to :class:`Resume`; the replies that the client has not received follow.

    Attributes:
        received: How many requests the server has received since ``make``: the client sends the rest again.
        takeovers: How many clients have gone on with the session without counts of their own, this one included. If
            another has done so since, the requests that this client counts are not the only ones.
        warnings: What the client should know of its request.
    """

    received: int
    takeovers: int = 0
    warnings: Warnings = ()

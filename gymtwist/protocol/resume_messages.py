"""The messages of the framed protocol that let a session outlive its connection.

A client asks for this in ``make``, and gets a secret. Both sides count the following requests and replies, so that
messages need no numbers.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from gymtwist.protocol.messages import MAX_TOKEN, Message, Warnings

#: How many bytes of replies a server keeps besides the last one.
KEPT_BYTES = 1 << 20
#: The maximum length of a secret in characters.
MAX_SECRET = 128


class Resume(Message, frozen=True, tag="resume", forbid_unknown_fields=True):
    """Resume a session whose connection was lost; the first request of a new connection.

    Attributes:
        secret: The secret from ``resume`` in the reply to ``make``.
        received: How many replies the client has received since then; None if it does not know, for example after a
            restart. Only the last reply is then sent again.
        token: The client's token, if the server requires one.
    """

    secret: Annotated[str, Meta(min_length=1, max_length=MAX_SECRET)]
    received: Annotated[int, Meta(ge=0)] | None = None
    token: Annotated[str, Meta(max_length=MAX_TOKEN)] | None = None


class Resumed(Message, frozen=True, tag="resume"):
    """The reply to :class:`Resume`; the replies that the client has not received follow.

    Attributes:
        received: How many requests the server has received since ``make``; the client sends the rest again.
        takeovers: How many clients have resumed the session without knowing its counts, including this one. If another
            has done so since then, there are more requests than this client counts.
        warnings: What the client should know about its request.
    """

    received: int
    takeovers: int = 0
    warnings: Warnings = ()

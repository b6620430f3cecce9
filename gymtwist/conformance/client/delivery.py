"""How replies are delivered: in forms that the protocol allows and that a hasty client cannot read."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from gymtwist.conformance.encoding import encode, framed
from gymtwist.protocol.names import ProtocolName


class Delivery(enum.Enum):
    """Where the bytes of the replies are cut."""

    WHOLE = "all in one"
    BYTES = "byte by byte"
    HALVES = "in the middle"
    HEADER = "behind the first byte, and before the last"


class Answer(NamedTuple):
    """What the judge sends: nothing, a reply, or several at once.

    Attributes:
        replies: Each with its operation and its fields.
        delivery: How they are cut.
        dressed: Whether the messages are written with everything that may be there: fields that nobody knows, the
            operation behind the other fields, and in JSON white space.
        last: Whether the judge closes the connection behind them.
    """

    replies: Sequence[dict[str, Any]]
    delivery: Delivery = Delivery.WHOLE
    dressed: bool = False
    last: bool = False


#: Fields that no reply has, with text whose bytes are more than its characters.
UNKNOWN = {"x_unknown": {"text": "Größe 🎲", "list": [1, None, {"op": "error"}], "number": -1.5e300}, "x_none": None}


def pieces(protocol: ProtocolName, answer: Answer) -> list[bytes]:
    """Encode what the judge sends, in the pieces in which it sends it."""
    data = b"".join(framed(protocol, _payload(protocol, reply, answer.dressed)) for reply in answer.replies)
    if answer.delivery is Delivery.BYTES and len(data) <= 4000:
        return [data[index : index + 1] for index in range(len(data))]
    cuts = {
        Delivery.HALVES: [0, len(data) // 2, len(data)],
        Delivery.HEADER: [0, 1, len(data) - 1, len(data)],
    }.get(answer.delivery, [0, len(data)])
    return [data[start:stop] for start, stop in pairwise(cuts) if start < stop]


def _payload(protocol: ProtocolName, reply: dict[str, Any], dressed: bool) -> bytes:
    if not dressed:
        return encode(protocol, reply)
    fields = {**UNKNOWN, **reply}
    fields["op"] = fields.pop("op")
    if protocol is ProtocolName.NETSTRING:
        return json.dumps(json.loads(encode(protocol, fields)), indent=1, ensure_ascii=False).encode()
    return encode(protocol, fields)

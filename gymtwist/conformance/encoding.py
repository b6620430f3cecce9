"""Messages put together freely: wrong ones, ones with fields that nobody knows, and their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gymtwist.protocol.framing import Framing, frame
from gymtwist.protocol.names import ProtocolName

#: The framed protocols, by the names that the suite's options have for them.
PROTOCOLS = {"netstring": ProtocolName.NETSTRING, "int32": ProtocolName.INT32}


def encode(protocol: ProtocolName, content: Any) -> bytes:
    """Encode what goes into a frame."""
    return msgspec.json.encode(content) if protocol is ProtocolName.NETSTRING else msgspec.msgpack.encode(content)


def framed(protocol: ProtocolName, payload: bytes) -> bytes:
    """Put a payload into a frame."""
    return b"".join(frame(Framing(protocol.value), payload))


def message(protocol: ProtocolName, op: str, fields: Mapping[str, Any]) -> bytes:
    """Encode a message as a frame, whatever its fields are."""
    return framed(protocol, encode(protocol, {"op": op, **fields}))

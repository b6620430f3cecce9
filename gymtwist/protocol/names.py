"""The names of the protocols, for all that speak of them."""

from __future__ import annotations

import enum


class ProtocolName(enum.Enum):
    """The protocols that a connection can speak."""

    CLASSIC = "classic"  # gym-socket-api's own binary protocol
    NETSTRING = "netstring"  # the framed protocol: netstrings of JSON
    INT32 = "int32"  # the framed protocol: MessagePack behind a uint32 length

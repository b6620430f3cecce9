"""Bytes into a receive buffer, as a socket puts them there."""

from __future__ import annotations

from gymtwist.protocol.receive_buffer import ReceiveBuffer


def feed(reader: ReceiveBuffer, data: bytes) -> None:
    """Hand bytes to a reader as a socket does."""
    while data:
        space = reader.space()
        count = min(len(space), len(data))
        assert count
        space[:count] = data[:count]
        reader.received(count)
        data = data[count:]

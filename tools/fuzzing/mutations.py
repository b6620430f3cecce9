"""Mutations of bytes: what broken, hostile and half-sent messages look like."""

from __future__ import annotations

import random
from collections.abc import Sequence

#: Bytes that mean something to one protocol or another.
_TELLING = (
    *(b"\0", b"\xff", b"\x7f", b"\x80", b"\r\n", b"\r\n\r\n", b":", b",", b'"', b"{", b"}", b"[", b"]", b"\\u0000"),
    *(b"0", b"9" * 12, b"-1", b"1e999", b"NaN", b"\xc0\x80", b"\xed\xa0\x80", b"\xf0\x9f\x8e\xae"),
    *(b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xd9\xff", b"\xcf" + b"\xff" * 8),
    *(b"\x81\xfe\xff\xff", b"\x81\xff\x7f" + b"\xff" * 7, b"\x88\x80\0\0\0\0", b"Content-Length: 99999999999\r\n"),
)
#: The most bytes of an input.
_LONGEST = 70_000


def mutated(seeds: Sequence[bytes], source: random.Random) -> bytes:
    """Return one of some seeds, or a splice of two, with up to eight mutations.

    Args:
        seeds: Valid inputs.
        source: Where chance comes from.
    """
    data = bytearray(source.choice(seeds))
    if source.random() < 0.2:
        other = source.choice(seeds)
        data[source.randint(0, len(data)) :] = other[source.randint(0, len(other)) :]
    for _ in range(source.randint(1, 8)):
        at = source.randint(0, len(data))
        match source.randrange(7):
            case 0 if data:
                data[at - 1] ^= 1 << source.randrange(8)
            case 1 if data:
                data[at - 1] = source.randrange(256)
            case 2:
                del data[at : at + source.choice((1, 2, 4, 16, 256))]
            case 3:
                data[at:at] = source.choice(_TELLING)
            case 4:
                data[at:at] = data[at : at + source.choice((1, 8, 64))] * source.choice((1, 2, 50))
            case 5:
                del data[at:]
            case _:
                data[at : at + 4] = source.randrange(2**32).to_bytes(4, source.choice(("big", "little")))
    return bytes(data[:_LONGEST])

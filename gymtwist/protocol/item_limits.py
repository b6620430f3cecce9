"""How many parts a message has, told before any of them is made.

An empty map is one byte of MessagePack and 64 in Python: the limit of a frame alone would not keep a server from
making a gigabyte of what it was sent. Bytes and strings are one part, however long.
"""

from __future__ import annotations

#: The most parts of a request: values at any depth, and the keys of maps.
MAX_PARTS = 500_000

# For each first byte of MessagePack: how many bytes the part has without those that its length counts, and how many
# of them are that length. https://github.com/msgpack/msgpack/blob/master/spec.md
_HEADS = [(1, 0)] * 256
for _count in range(32):
    _HEADS[0xA0 + _count] = (1 + _count, 0)
for _first, _sizes in {
    0xCA: (5, 9),
    0xCC: (2, 3, 5, 9, 2, 3, 5, 9),
    0xD4: (3, 4, 6, 10, 18),
    0xDC: (3, 5, 3, 5),
}.items():
    for _code, _size in enumerate(_sizes, _first):
        _HEADS[_code] = (_size, 0)
for _first, _type in {0xC4: 0, 0xC7: 1, 0xD9: 0}.items():
    for _code, _width in enumerate((1, 2, 4), _first):
        _HEADS[_code] = (1 + _width + _type, _width)


def messagepack_has_more(payload: bytes | memoryview, most: int) -> bool:
    """Tell whether MessagePack has more parts than that; what is not MessagePack has any number."""
    position, end, count = 0, len(payload), 0
    # Every part has a byte at least.
    while end - position > most - count:
        count += 1
        if count > most:
            return True
        size, width = _HEADS[payload[position]]
        if width:
            size += int.from_bytes(payload[position + 1 : position + 1 + width], "big")
        position += size
    return False


def json_has_more(payload: bytes | memoryview, most: int) -> bool:
    """Tell whether JSON has more parts than that, as far as the punctuation tells: that in strings is counted, too."""
    if len(payload) <= most:
        return False
    text = bytes(payload)
    return sum(text.count(each) for each in (b",", b"[", b"{", b":")) >= most

"""Checks a reader of netstrings against the golden vectors; put the reader of your own client in its place.

Usage: python check_vectors.py [DIRECTORY]
"""

import json
import sys
from pathlib import Path


def read_frame(data):
    """Take a netstring from the beginning of some bytes; return its payload and the rest, or None if it is cut."""
    length, colon, rest = data.partition(b":")
    if not colon or len(rest) <= int(length):
        return None
    if rest[int(length)] != ord(","):
        raise ValueError("the netstring does not end with a comma")
    return rest[: int(length)], rest[int(length) + 1 :]


def check_framing(vectors):
    """Compare the payloads of received bytes, and what is left of them; return how many vectors that were."""
    count = 0
    for vector in vectors["whole"]:
        if vector["framing"] != "netstring":
            continue
        rest, payloads = bytes.fromhex(vector["bytes"]), []
        while (taken := read_frame(rest)) is not None:
            payload, rest = taken
            payloads.append(payload.hex())
        assert (payloads, len(rest)) == (vector["payloads"], vector["left"]), vector["name"]
        count += 1
    return count


def check_replies(vectors):
    """Compare what replies mean, however they are written; return how many vectors that were."""
    replies = [each for each in vectors["canonical"] + vectors["ways"] if each["framing"] == "netstring"]
    meanings = {each["name"]: each["meaning"] for each in replies if "meaning" in each}
    for vector in replies:
        expected = meanings[vector.get("same_as", vector["name"])]
        payload, rest = read_frame(bytes.fromhex(vector["bytes"]))
        reply = json.loads(payload)
        # Other ways to write a message have fields with their defaults, or fields that nobody knows.
        assert ({name: reply.get(name) for name in expected}, rest) == (expected, b""), vector["name"]
    return len(replies)


directory = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference/protocol/vectors")
for name, check in (("framing", check_framing), ("replies", check_replies)):
    print(f"{name}: {check(json.loads((directory / f'{name}.json').read_text()))} vectors are right")

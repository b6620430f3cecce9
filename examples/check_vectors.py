"""Check a netstring reader against the golden vectors. Replace the reader with your client's.

Usage: python check_vectors.py [DIRECTORY]
"""

import json
import sys
from pathlib import Path


def read_frame(data):
    """Return the payload of a netstring at the start of the bytes, and the rest; None if it is incomplete."""
    length, colon, rest = data.partition(b":")
    if not colon or len(rest) <= int(length):
        return None
    if rest[int(length)] != ord(","):
        raise ValueError("the netstring does not end with a comma")
    return rest[: int(length)], rest[int(length) + 1 :]


def check_framing(vectors):
    """Compare the payloads of received bytes, and the remaining bytes; return the number of vectors."""
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
    """Compare the meanings of replies, however they are encoded; return the number of vectors."""
    replies = [each for each in vectors["canonical"] + vectors["ways"] if each["framing"] == "netstring"]
    meanings = {each["name"]: each["meaning"] for each in replies if "meaning" in each}
    for vector in replies:
        expected = meanings[vector.get("same_as", vector["name"])]
        payload, rest = read_frame(bytes.fromhex(vector["bytes"]))
        reply = json.loads(payload)
        # Other encodings of a message have fields with their defaults, or unknown fields.
        assert ({name: reply.get(name) for name in expected}, rest) == (expected, b""), vector["name"]
    return len(replies)


directory = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference/protocol/vectors")
for name, check in (("framing", check_framing), ("replies", check_replies)):
    print(f"{name}: {check(json.loads((directory / f'{name}.json').read_text()))} vectors are right")

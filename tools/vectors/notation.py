"""How the vectors write what a message means: JSON, with two words for what JSON has no token for."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from gymtwist.spaces.numbers import NOT_FINITE, number_text

#: One vector, or one file of them.
Entry = dict[str, Any]

_BYTES, _NUMBER = "hex", "float"


def write(value: Any) -> Any:
    """Write what was decoded: bytes as ``{"hex": ...}``, floats that are not finite as ``{"float": ...}``."""
    if isinstance(value, bytes):
        return {_BYTES: value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {_NUMBER: number_text(value)}
    if isinstance(value, dict):
        return {key: write(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [write(each) for each in value]
    return value


def read(value: Any) -> Any:
    """Read what :func:`write` wrote."""
    if isinstance(value, dict):
        if value.keys() == {_BYTES}:
            return bytes.fromhex(value[_BYTES])
        if value.keys() == {_NUMBER}:
            return NOT_FINITE[value[_NUMBER]]
        return {key: read(each) for key, each in value.items()}
    return [read(each) for each in value] if isinstance(value, list) else value


def json_bytes(value: Any) -> bytes:
    """Encode as the server does: UTF-8, without spaces."""
    return msgspec.json.encode(value)


def messagepack_bytes(value: Any) -> bytes:
    """Encode as the server does: every number and length in the fewest bytes, floats in nine."""
    return msgspec.msgpack.encode(value)


def text_of(file: Entry) -> str:
    """Write a file of vectors: each of them in a line of its own, so that a change shows what it changes."""
    parts = []
    for key, value in file.items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(each, allow_nan=False)}" for each in value)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"

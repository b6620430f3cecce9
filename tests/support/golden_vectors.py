"""Reading the golden vectors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.codec_samples import payload_of
from tools.vectors.__main__ import DIRECTORY
from tools.vectors.notation import Entry


def load(name: str) -> Entry:
    """Return a file of vectors."""
    file: Entry = json.loads((DIRECTORY / name).read_text())
    return file


def entries(name: str, key: str) -> list[Any]:
    """Return the vectors of a list in a file, as parameters of a test."""
    return [pytest.param(each, id=name_of(each)) for each in load(name)[key]]


def name_of(entry: Entry) -> str:
    """Names a vector, as it is named in its list."""
    kind = entry.get("framing") or entry.get("encoding") or entry.get("form") or ""
    return f"{entry['name']} {kind}".strip()


def payload(entry: Entry) -> bytes:
    """Return what is in the frame of a vector."""
    return payload_of([bytes.fromhex(entry["bytes"])])


def same(one: Any, other: Any) -> bool:
    """Tell whether two messages mean the same; a NaN is like any other."""
    return repr(one) == repr(other)


def in_order(value: Any) -> Any:
    """Return a value with the fields of its objects in alphabetical order: their order means nothing."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(each) for each in value] if isinstance(value, list) else value

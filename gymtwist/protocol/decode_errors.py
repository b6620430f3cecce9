"""What is wrong with a request, in words for who sent it: msgspec's findings, as errors of gymtwist."""

from __future__ import annotations

import re
from typing import get_args

import msgspec

from gymtwist.errors import GymtwistError, InvalidField, MalformedMessage, UnknownOperation
from gymtwist.protocol.messages import Request

#: How many characters of what msgspec says are passed on: it may show a value of any length.
MOST_SHOWN = 300

_OPERATIONS = ", ".join(str(each.__struct_config__.tag) for each in get_args(Request))
# How msgspec says where an error is.
_PLACE = re.compile(r"^(?P<what>.*?)\s+- at `(?P<place>.*)`$", re.DOTALL)


class Operation(msgspec.Struct):
    """What can be told of a request that is wrong."""

    op: str


def explain(error: msgspec.ValidationError, operation: str | None) -> GymtwistError:
    """Turn what msgspec found wrong with a request into an error that names the field.

    Args:
        error: What it found.
        operation: Which operation was asked for; None if that cannot be told.
    """
    found = _PLACE.match(str(error))
    what, place = found.group("what", "place") if found else (str(error), "$")
    what = what if len(what) <= MOST_SHOWN else f"{what[:MOST_SHOWN]}..."
    field = place.removeprefix("$").removeprefix(".")
    if operation is None:
        if what.startswith("Object missing required field `op`"):
            return InvalidField("the message has no field `op`: it says which operation is asked for")
        if field == "op":
            return InvalidField(f"field `op`: {_lower(what)}")
        return MalformedMessage(f"the message is no object with strings for keys: {what}")
    if field == "op":
        return UnknownOperation(f'unknown operation "{operation[:80]}"; the operations are {_OPERATIONS}')
    if what.startswith("Object missing"):
        what = what.removeprefix("Object ")
    return InvalidField(f"{operation}: field `{field}`: {_lower(what)}" if field else f"{operation}: {what}")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]

"""What sessions need from the nodes of a cluster, by environment id; see ``--session-needs``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from gymtwist.server.config_file import check_key

Amount = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:[A-Za-z0-9][A-Za-z0-9.-]{{0,252}}/)?{_LABEL}")
_CONDITION = re.compile(rf"!?{_LABEL}|!?in\( ?{_LABEL}(?:, ?{_LABEL})* ?\)")
_EXAMPLE = '{"ALE/*": {"gpus": 0.5, "labels": {"zone": "eu"}}}'


class Needs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a session needs from its node; for None, the server option for all sessions applies.

    Attributes:
        cpus: See ``--session-cpus``.
        gpus: See ``--session-gpus``.
        resources: The amounts of other resources, by name; see ``--session-resource``.
        labels: Conditions for labels of the node, in Ray's syntax: ``eu``, ``!eu``, ``in(eu, us)``, ``!in(eu, us)``.
    """

    cpus: Amount | None = None
    gpus: Amount | None = None
    resources: dict[str, Amount] = {}
    labels: dict[str, str] = {}


def read_needs(text: str) -> dict[str, Needs]:
    """Read what sessions need, by patterns of environment ids.

    Args:
        text: A JSON object.

    Raises:
        ValueError: Something is invalid; the message is a clause that names the field.
    """
    try:
        tables = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not JSON, such as {_EXAMPLE}: {error}") from error
    if not isinstance(tables, dict):
        raise ValueError(f"it must be an object by patterns of ids, such as {_EXAMPLE}")
    return {pattern: _read(pattern, table) for pattern, table in tables.items()}


def _read(pattern: str, table: Any) -> Needs:
    try:
        for key in table if isinstance(table, dict) else ():
            check_key(key, Needs.__struct_fields__)
        needs = msgspec.convert(table, Needs)
        if any(math.isnan(each) for each in (needs.cpus or 0.0, needs.gpus or 0.0, *needs.resources.values())):
            raise ValueError("NaN is not an amount")
        check_gpus("gpus", needs.gpus or 0.0)
        for name in needs.resources:
            check_resource(name)
        for key, condition in needs.labels.items():
            _check_label(key, condition)
    except ValueError as error:  # including msgspec's errors
        raise ValueError(f'of "{pattern}": {error}') from error
    return needs


def check_gpus(field: str, amount: float) -> None:
    """Check a number of GPUs: a fraction of one, or a whole number.

    Raises:
        ValueError: It is neither.
    """
    if amount > 1 and amount != int(amount):
        raise ValueError(
            f"`{field}` is {amount:g}: a session has a part of one GPU, up to 1, or a whole number of them"
        )


def check_resource(name: str) -> None:
    """Check the name of a resource that has no option of its own.

    Raises:
        ValueError: The name is empty, or that resource has its own option.
    """
    if name in ("CPU", "GPU"):
        own = f"{name.lower()}s"
        raise ValueError(f"`{name}` is not given as a resource: use `{own}`, or --session-{own} for all sessions")
    if not name:
        raise ValueError("a resource needs a name, such as simulator")


def _check_label(key: str, condition: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError(f"`labels`: {key!r} cannot be the key of a label; it is like zone, or ray.io/node-group")
    if not _CONDITION.fullmatch(condition):
        raise ValueError(
            f"`labels.{key}` is {condition!r}: it must be a value such as eu, or !eu, in(eu, us) or !in(eu, us)"
        )


def holds(condition: str, value: str | None) -> bool:
    """Return whether a condition holds for a label.

    Args:
        condition: The condition, in the syntax of :class:`Needs`.
        value: The value of the label; None if the node has no label with this key.
    """
    is_negated = condition.startswith("!")
    bare = condition.removeprefix("!")
    among = bare[3:-1].split(",") if bare.startswith("in(") else [bare]
    return (value is not None and value in map(str.strip, among)) != is_negated


def to_text(table: Mapping[str, Any]) -> str:
    """Return a table of a configuration file as the text of the option.

    Raises:
        ValueError: The table has a TOML value that JSON does not have.
    """
    try:
        return json.dumps(table)
    except TypeError as error:
        raise ValueError(f"it must have numbers, texts and tables only: {error}") from error

"""Converts a user's recording options to a field of a make request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from gymtwist.protocol import make_messages

#: The name of a dataset, or a mapping with the name as ``dataset`` and more fields of :class:`~.messages.Recording`.
RecordLike: TypeAlias = str | Mapping[str, Any]


def recording_of(given: RecordLike | None) -> make_messages.Recording | None:
    """Convert a user's recording options.

    Raises:
        ValueError: A field is unknown, is missing or has a wrong value.
    """
    if given is None:
        return None
    fields = {"dataset": given} if isinstance(given, str) else given
    names = make_messages.Recording.__struct_fields__
    if not isinstance(fields, Mapping):
        raise ValueError(f"record is {given!r:.80}: expected the name of a dataset, or a mapping with it as `dataset`")
    unknown = [name for name in fields if name not in names]
    if unknown:
        raise ValueError(f"record has {unknown[0]!r:.80}: expected {', '.join(names)}")
    if "dataset" not in fields:
        raise ValueError(f"record is {dict(fields)!r:.80}: expected the name of a dataset as `dataset`")
    for name, value in fields.items():
        try:
            msgspec.convert({"dataset": "-", name: value}, make_messages.Recording)
        except msgspec.ValidationError as error:
            problem = str(error).partition(" - at ")[0]
            raise ValueError(f"record.{name} is {value!r:.80}: {problem[:1].lower()}{problem[1:]}") from error
    return msgspec.convert(dict(fields), make_messages.Recording)


def check_one_process(record: make_messages.Recording | None, processes: int) -> None:
    """Check that only one session records a dataset.

    Raises:
        ValueError: Several sessions would record it.
    """
    if record is not None and processes > 1:
        raise ValueError(
            f"processes is {processes}, and one process alone records a dataset: send processes=1, with "
            'vectorization_mode="async" to use as many cores'
        )

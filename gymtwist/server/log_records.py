"""Log events as records with fields, and as lines of JSON, for programs.

Session events have fields of their own, which the log reference lists.
"""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
from twisted.logger import LogEvent, formatEvent

from gymtwist.error_texts import printable
from gymtwist.server.session_events import (
    Crashed,
    Disconnected,
    Ended,
    Incomplete,
    MemoryExceeded,
    Queued,
    Reconnected,
    Refused,
    Resumed,
    SessionEvent,
    SessionInfo,
    Started,
)

_NAMES: dict[type[SessionEvent], str] = {
    Queued: "queued",
    Refused: "refused",
    Incomplete: "incomplete",
    Started: "started",
    Crashed: "crashed",
    MemoryExceeded: "memory-exceeded",
    Resumed: "resumed",
    Disconnected: "disconnected",
    Reconnected: "reconnected",
    Ended: "ended",
}


def as_json(event: LogEvent) -> str:
    """Return a log event as a line with one JSON object."""
    when = datetime.datetime.fromtimestamp(event["log_time"], datetime.timezone.utc)
    return msgspec.json.encode({"time": when.isoformat(timespec="microseconds")} | record_of(event)).decode() + "\n"


def record_of(event: LogEvent) -> dict[str, Any]:
    """Return the fields of a log event, except its time."""
    failure = event.get("log_failure")
    record = {
        "level": event["log_level"].name if "log_level" in event else "info",
        "source": event.get("log_namespace", ""),
        "message": printable(formatEvent(event)),
    }
    if failure is not None:
        record["traceback"] = failure.getTraceback().encode("utf-8", "backslashreplace").decode()
    happened = event.get("happened")
    return record | ({} if happened is None else _fields(happened))


def _fields(event: SessionEvent) -> dict[str, Any]:
    """Return the fields of a session event."""
    fields: dict[str, Any] = {"event": _NAMES[type(event)]}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, SessionInfo):
            fields |= {
                "session": value.number,
                "client": value.client,
                "identity": value.identity,
                "environment": printable(value.environment),
                "protocol": value.spoken,
            }
        elif isinstance(event, Refused) and name == "error":
            fields |= {"code": value.code, "reason": printable(str(value))}
        elif name == "place":
            fields |= {"place": value} if value else {}  # a server without nodes has no places
        elif isinstance(event, Crashed) and name == "operation":
            fields[name] = value.name.lower()
        else:
            fields[name] = printable(value) if isinstance(value, str) else value
    return fields

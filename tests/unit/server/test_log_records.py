"""The log as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure

from gymtwist.errors import ServerFull
from gymtwist.protocol.handshake import ProtocolName
from gymtwist.server import server_log
from gymtwist.server.log_records import as_json
from gymtwist.server.session_events import (
    Crashed,
    Ended,
    Incomplete,
    MemoryExceeded,
    Queued,
    Refused,
    Resumed,
    SessionEvent,
    SessionInfo,
    Started,
)
from gymtwist.worker.session_status import Operation

SESSION = SessionInfo(7, "127.0.0.1:5", "CartPole-v1", ProtocolName.INT32, "alice")
OF_SESSION = {
    "session": 7,
    "client": "127.0.0.1:5",
    "identity": "alice",
    "environment": "CartPole-v1",
    "protocol": "int32",
}


def logged(event: SessionEvent, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the object that the log has of an event."""
    lines: list[str] = []
    observer: Any = lambda each: lines.append(as_json(each))  # noqa: E731
    monkeypatch.setattr(server_log, "log", Logger("gymsock", observer=observer))
    server_log.log_event(event)
    (line,) = lines
    assert line.endswith("\n")
    assert line.count("\n") == 1
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (
            Queued("127.0.0.1:5", "CartPole-v1", "4 of 4 sessions run"),
            {
                **{"event": "queued", "client": "127.0.0.1:5", "environment": "CartPole-v1"},
                "lack": "4 of 4 sessions run",
            },
        ),
        (
            Refused("127.0.0.1:5", ServerFull("is\nfull")),
            {"event": "refused", "client": "127.0.0.1:5", "code": "server-full", "reason": "is\\nfull"},
        ),
        (Incomplete("127.0.0.1:5", "it left"), {"event": "incomplete", "client": "127.0.0.1:5", "problem": "it left"}),
        (Started(SESSION, 12), {"event": "started", **OF_SESSION, "process": 12}),
        (Resumed(SESSION, None), {"event": "resumed", **OF_SESSION, "process": None}),
        (
            Crashed(SESSION, "was killed by SIGSEGV", Operation.STEP, ""),
            {
                "event": "crashed",
                **OF_SESSION,
                "how": "was killed by SIGSEGV",
                "operation": "step",
                "timeout_reason": "",
            },
        ),
        (
            MemoryExceeded(SESSION, 3 << 20, 2 << 20, of_worker=True),
            {"event": "memory-exceeded", **OF_SESSION, "held": 3 << 20, "limit": 2 << 20, "of_worker": True},
        ),
        (
            Ended(SESSION, "the client left", 10, 2, 1.5, 0.25, 300, 200, 4),
            {
                "event": "ended",
                **OF_SESSION,
                "reason": "the client left",
                "steps": 10,
                "episodes": 2,
                "seconds": 1.5,
                "processor_time": 0.25,
                "bytes_sent": 300,
                "bytes_received": 200,
                "snapshots": 4,
            },
        ),
    ],
)
def test_each_event_has_its_fields(
    event: SessionEvent, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Besides the line for people."""
    record = logged(event, monkeypatch)
    assert {name: record[name] for name in fields} == fields
    assert record.keys() - fields.keys() == {"time", "level", "source", "message"}
    assert record["message"].startswith("[session ")
    assert record["source"] == "gymsock"


def test_other_lines_have_a_message() -> None:
    """And the time in UTC; an error of the server itself has its traceback."""
    try:
        raise KeyError("x")
    except KeyError:
        failure = Failure()
    event: LogEvent = {
        "log_time": 0.25,
        "log_level": LogLevel.critical,
        "log_namespace": "twisted",
        "log_format": "it {what}",
        "what": "failed\x1b",
        "log_failure": failure,
    }
    record = json.loads(as_json(event))
    assert (record["time"], record["level"]) == ("1970-01-01T00:00:00.250000+00:00", "critical")
    assert record["message"] == "it failed\\x1b"
    assert "KeyError: 'x'" in record["traceback"]


def test_text_that_is_not_unicode_is_escaped() -> None:
    """As that of a file name; a line that cannot be written would be lost."""
    event: LogEvent = {
        "log_time": 0.0,
        "log_format": "{name}",
        "name": "a\udcff",
        "log_failure": Failure(OSError("b\udcff")),
    }
    found = json.loads(as_json(event))
    assert found["message"] == "a\\udcff"
    assert "b\\udcff" in found["traceback"]

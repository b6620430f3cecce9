"""The OpenAPI description of what the server answers: its schemas are those of the answers themselves."""

from __future__ import annotations

from typing import Any

import msgspec

import gymtwist
from gymtwist.protocol.http_head import Problem
from gymtwist.server.server_state import ErrorRow, SessionPage, SessionRow
from gymtwist.web.server_overview import ServerOverview


class Status(msgspec.Struct, frozen=True):
    """Whether the server is as the path asks."""

    status: str


class SessionList(msgspec.Struct, frozen=True):
    """The sessions that run."""

    sessions: list[SessionRow]


class ErrorList(msgspec.Struct, frozen=True):
    """The last errors, oldest first."""

    errors: list[ErrorRow]


_NUMBER = {
    "name": "number",
    "in": "path",
    "required": True,
    "description": "The number of the session.",
    "schema": {"type": "integer", "minimum": 1},
}
#: For each path: a summary, the types of the answers by their status codes, and parameters.
_PATHS: dict[str, tuple[str, dict[int, type], list[dict[str, Any]]]] = {
    "/healthz": ("Whether the server answers.", {200: Status}, []),
    "/readyz": ("Whether new sessions can begin.", {200: Status, 503: Status}, []),
    "/api/status": ("Limits, what is taken of them, and totals.", {200: ServerOverview}, []),
    "/api/sessions": ("The sessions that run.", {200: SessionList}, []),
    "/api/sessions/{number}": (
        "One session that runs, with its last episodes and what it printed.",
        {200: SessionPage, 404: Problem},
        [_NUMBER],
    ),
    "/api/errors": ("The last clients that were refused, and processes that crashed.", {200: ErrorList}, []),
}
_MEANINGS = {200: "The answer.", 404: "There is no such thing.", 503: "Not now."}


def describe() -> dict[str, Any]:
    """Return the description."""
    types = list({each for _, answers, _ in _PATHS.values() for each in answers.values()})
    types.sort(key=lambda each: each.__name__)
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    of_type = dict(zip(types, schemas, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gymtwist",
            "version": gymtwist.__version__,
            "description": "What there is to know about a server of environments. Times are in seconds.",
        },
        "paths": {
            path: {
                "get": {
                    "summary": summary,
                    **({"parameters": parameters} if parameters else {}),
                    "responses": {
                        str(code): {
                            "description": _MEANINGS[code],
                            "content": {"application/json": {"schema": of_type[each]}},
                        }
                        for code, each in answers.items()
                    },
                }
            }
            for path, (summary, answers, parameters) in _PATHS.items()
        },
        "components": {"schemas": components},
    }

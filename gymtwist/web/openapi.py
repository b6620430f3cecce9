"""The OpenAPI description of the server's API; its schemas are generated from the types of the answers."""

from __future__ import annotations

from typing import Any

import msgspec

import gymtwist
from gymtwist.protocol.http_head import Problem
from gymtwist.protocol.messages import ListedEnv
from gymtwist.recordings.dataset_catalogue import DatasetRow
from gymtwist.server.server_state import ErrorRow, SessionPage, SessionRow
from gymtwist.web.live_view import Reason
from gymtwist.web.server_overview import ServerOverview


class Status(msgspec.Struct, frozen=True):
    """Whether the server is in the state that the path asks about."""

    status: str


class SessionList(msgspec.Struct, frozen=True):
    """The running sessions."""

    sessions: list[SessionRow]


class EnvironmentList(msgspec.Struct, frozen=True):
    """The environments that clients may ask for, sorted by id."""

    environments: list[ListedEnv]


class DatasetList(msgspec.Struct, frozen=True):
    """The datasets of recorded episodes, sorted by name."""

    datasets: list[DatasetRow]


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
_AFTER = {
    "name": "after",
    "in": "query",
    "description": "The number of the last frame that was received; 0 for none.",
    "schema": {"type": "integer", "minimum": 0, "default": 0},
}
_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The id of the environment, such as `CartPole-v1`.",
    "schema": {"type": "string"},
}
_DATASET = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The name of the dataset, such as `lab/cartpole-v0`.",
    "schema": {"type": "string"},
}
#: For each path: a summary, the types of the answers by status code, and the parameters.
_PATHS: dict[str, tuple[str, dict[int, Any], list[dict[str, Any]]]] = {
    "/healthz": ("Whether the server answers.", {200: Status}, []),
    "/readyz": ("Whether new sessions can begin.", {200: Status, 503: Status}, []),
    "/api/status": ("Limits, how much of each is in use, and totals.", {200: ServerOverview}, []),
    "/api/sessions": ("The running sessions.", {200: SessionList}, []),
    "/api/sessions/{number}": (
        "A session that is running or has ended recently, with its last episodes and the lines that it printed.",
        {200: SessionPage, 404: Problem},
        [_NUMBER],
    ),
    "/api/environments": ("The environments that clients may ask for.", {200: EnvironmentList, 503: Problem}, []),
    "/api/environments/{id}": (
        "One environment: the reply to `make` of the framed protocol. The first request makes the environment.",
        {200: dict[str, Any], 400: Problem, 403: Problem, 503: Problem},
        [_ID],
    ),
    "/api/datasets": ("The datasets of recorded episodes.", {200: DatasetList, 503: Problem}, []),
    "/api/datasets/{name}": ("One dataset of recorded episodes.", {200: DatasetRow, 404: Problem}, [_DATASET]),
    "/api/errors": ("The last refused clients and crashed workers.", {200: ErrorList}, []),
}
_MEANINGS = {
    200: "The answer.",
    400: "The environment cannot be made.",
    403: "The request comes from a page of another site.",
    404: "There is none.",
    503: "The server is starting, stopping or full.",
}


def describe() -> dict[str, Any]:
    """Return the OpenAPI description, as an object for JSON."""
    types = list({str(each): each for _, answers, _ in _PATHS.values() for each in answers.values()}.values())
    types.sort(key=str)
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    of_type = dict(zip(map(str, types), schemas, strict=True))
    frame = {"description": "The frame; its number is in the header `Frame-Number`.", "content": {"image/png": {}}}
    reasons = ", ".join(f"`{each.value}`" for each in Reason)
    nothing = {"description": f"There is no frame; the header `No-Frame` says why: {reasons}."}
    frames = {
        "summary": "The next frame of a session after the frame `after`, as a PNG.",
        "parameters": [_NUMBER, _AFTER],
        "responses": {"200": frame, "204": nothing},
    }
    archives = {
        "summary": "A tar archive with a dataset, which unpacks into a directory of Minari's datasets.",
        "parameters": [_DATASET],
        "responses": {"200": {"description": "The archive.", "content": {"application/x-tar": {}}}},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gymtwist",
            "version": gymtwist.__version__,
            "description": "The state of a server of environments. Times are in seconds.",
        },
        "paths": {
            path: {
                "get": {
                    "summary": summary,
                    **({"parameters": parameters} if parameters else {}),
                    "responses": {
                        str(code): {
                            "description": _MEANINGS[code],
                            "content": {"application/json": {"schema": of_type[str(each)]}},
                        }
                        for code, each in answers.items()
                    },
                }
            }
            for path, (summary, answers, parameters) in _PATHS.items()
        }
        | {"/api/sessions/{number}/frame": {"get": frames}, "/api/datasets/{name}.tar": {"get": archives}},
        "components": {"schemas": components},
    }

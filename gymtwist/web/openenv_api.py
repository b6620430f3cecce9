"""What OpenEnv clients request over HTTP, below ``/openenv/ENV_ID/``; they play over WebSocket."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec
from twisted.web.resource import Resource

import gymtwist
from gymtwist.errors import GymtwistError
from gymtwist.protocol.http_head import UPGRADE_HEADERS, Problem
from gymtwist.server.gym_factory import GymFactory
from gymtwist.web.json_resource import NotFound, json_body
from gymtwist.web.openenv_session import no_tools

#: The first part of all paths, and the last part of a WebSocket's path.
PREFIX, SOCKET = "openenv", "ws"

_OBJECT = {"type": "object"}
_SCHEMA = {
    "action": {**_OBJECT, "properties": {"action": {"description": "An action."}}, "required": ["action"]},
    "observation": {
        **_OBJECT,
        "properties": {
            "observation": {"description": "The observation; those of a Dict space have its keys instead."},
            "metadata": {**_OBJECT, "description": "terminated, truncated and info"},
        },
    },
    "state": {**_OBJECT, "properties": {"episode_id": {"type": ["string", "null"]}, "step_count": {"type": "integer"}}},
}
_ANSWERS = {"responses": {"200": {"description": "An object."}}}


def socket_environment(path: str) -> str | None:
    """Return the environment id in a WebSocket's path; None for any other path."""
    parts = [part for part in path.split("/") if part]
    if len(parts) < 3 or parts[0] != PREFIX or parts[-1] != SOCKET:
        return None
    return unquote("/".join(parts[1:-1]))


class OpenEnvApi(Resource):
    """Answers everything below ``/openenv/`` except WebSocket upgrades.

    Args:
        factory: What connections share.
    """

    isLeaf = True

    def __init__(self, factory: GymFactory) -> None:
        super().__init__()
        self._factory = factory

    def render(self, request: Any) -> bytes:
        """Answer a request; called by Twisted."""
        _, *parts = [each for each in request.path.decode("latin-1").split("/") if each]
        if not parts:
            return NotFound().render(request)
        method = "GET" if request.method == b"HEAD" else request.method.decode("latin-1")
        answer = _ANSWERED.get((method, parts[-1]))
        if answer is None:
            return self._other(request, parts, method)
        environment = unquote("/".join(parts[:-1]))
        try:
            self._factory.allow_list_of(request.identity).check(environment)
        except GymtwistError as error:
            return json_body(request, 403, Problem(str(error), error.code))
        return json_body(request, 200, answer(request, environment))

    def _other(self, request: Any, parts: list[str], method: str) -> bytes:
        if method == "GET" and parts[-1] == SOCKET:
            for name, value in UPGRADE_HEADERS.items():
                request.setHeader(name.encode(), value.encode())
            body = json_body(request, 426, Problem("ask for WebSocket here", "upgrade-required"))
            request.setResponseCode(426, b"Upgrade Required")  # Twisted does not know this phrase
            return body
        allowed = sorted({each for each, name in _ANSWERED if name == parts[-1]})
        if not allowed:
            return NotFound().render(request)
        request.setHeader(b"Allow", ", ".join(allowed).encode())
        return json_body(request, 405, Problem(f"use {', '.join(allowed)}", "method-not-allowed"))


def _metadata(request: Any, environment: str) -> dict[str, Any]:
    return {
        "name": environment,
        "description": f"{environment} of Gymnasium or Gym, served by gymtwist",
        "version": gymtwist.__version__,
    }


def _openapi(request: Any, environment: str) -> dict[str, Any]:
    paths = {f"/{name}": {method.lower(): _ANSWERS} for method, name in _ANSWERED if name != "openapi.json"}
    return {"openapi": "3.1.0", "info": {"title": environment, "version": "1.0.0"}, "paths": paths}


def _mcp(request: Any, environment: str) -> dict[str, Any]:
    try:
        return no_tools(msgspec.json.decode(request.content.read()))
    except (ValueError, RecursionError):
        return no_tools(None)


_ANSWERED = {
    ("GET", "health"): lambda request, environment: {"status": "healthy"},
    ("GET", "metadata"): _metadata,
    ("GET", "schema"): lambda request, environment: _SCHEMA,
    ("GET", "openapi.json"): _openapi,
    ("POST", "mcp"): _mcp,
}

"""Instances of gym-http-api, and connections of OpenEnv, on a server that knows identities."""

from __future__ import annotations

import gc
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from gymtwist.worker.session_status import ANSWERED
from gymtwist_conformance.reference_client import message
from gymtwist_conformance.reference_client.websocket_stream import upgrade_request
from tests.support.connection_fixtures import Make, connect, read
from tests.support.harness import Harness
from tests.support.identity_files import write_identities
from tests.unit.web.test_played_session import MADE
from tests.unit.web.test_site import answer, parsed


@pytest.fixture
def guarded(make: Make, tmp_path: Path) -> tuple[Harness, dict[str, str]]:
    """A server with two identities, and their tokens."""
    path, tokens = write_identities(tmp_path, alice="", carol="")
    return make("--identities", path), tokens


def request(method: str, path: str, token: str, body: Any = None) -> bytes:
    """Write a request with a token."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def test_an_instance_belongs_to_an_identity(guarded: tuple[Harness, dict[str, str]]) -> None:
    """Clients of others are told that there is none."""
    harness, tokens = guarded
    with connect(harness, request("POST", "/v1/envs/", tokens["alice"], {"env_id": "CartPole-v1"})) as client:
        process = harness.starter.serving[-1]
        with socket.socket(fileno=os.dup(process.job["socket"])) as worker:
            process.begin().words[ANSWERED] = 1.0
            worker.sendall(message("netstring", "make", spec={"id": "CartPole-v1"}, **MADE))
            name = parsed(read(client, harness))[2]["instance_id"]
            assert harness.log.having(" as alice (gym-http-api")
            listed = {each: answer(harness, request("GET", "/v1/envs/", tokens[each]))[2] for each in tokens}
            assert listed == {"alice": {"all_envs": {name: "CartPole-v1"}}, "carol": {"all_envs": {}}}
            path = f"/v1/envs/{name}/action_space/"
            assert answer(harness, request("GET", path, tokens["alice"]))[0] == 200
            refused = answer(harness, request("GET", path, tokens["carol"]))
            assert (refused[0], refused[2]) == (400, {"message": f"Instance_id {name} unknown"})
            worker.shutdown(socket.SHUT_RDWR)
            harness.turn()
        assert answer(harness, request("GET", "/v1/envs/", tokens["alice"]))[2] == {"all_envs": {}}


def test_a_client_that_leaves_before_its_instance_is_made_leaves_none(harness: Harness) -> None:
    """The session that it asked for ends."""
    connect(harness, request("POST", "/v1/envs/", "", {"env_id": "CartPole-v1"})).close()
    harness.turn()
    process = harness.starter.serving[-1]
    with socket.socket(fileno=os.dup(process.job["socket"])) as worker:
        worker.recv(65536)
        assert worker.recv(65536) == b""
    assert answer(harness, request("GET", "/v1/envs/", ""))[2] == {"all_envs": {}}
    gc.collect()
    assert not [line for line in harness.log.others if "Unhandled" in line]


def test_a_websocket_of_openenv_needs_an_identity(guarded: tuple[Harness, dict[str, str]]) -> None:
    """Its package sends the token in a header."""
    harness, tokens = guarded
    path = "/openenv/CartPole-v1/ws"
    with connect(harness, upgrade_request(path)) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 401")
    with connect(harness, upgrade_request(path, Authorization=f"Bearer {tokens['alice']}")) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 101")

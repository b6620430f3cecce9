"""Clients of OpenEnv: their messages by WebSocket, and what they ask for by HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from gymtwist_conformance.reference_client.websocket_stream import WebSocketStream, upgrade_request
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess, connected

CLIENT_MEASURED = True

OPTIONS = ("--max-sessions", "6", "--queue", "0")
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Client:
    """A client of one environment, without a library."""

    def __init__(self, port: int, environment: str, **headers: str) -> None:
        """Connect; the path survives in the address that clients of OpenEnv are given."""
        self.stream = WebSocketStream(connected(("127.0.0.1", port)), upgrade=False)
        self.stream.send(upgrade_request(f"/openenv/{environment}/ws", **headers))
        self.status, self.headers = self.stream.read_head()

    def send(self, kind: str, **data: Any) -> None:
        """Send a message."""
        message = {"type": kind} if kind in ("state", "close") else {"type": kind, "data": data}
        self.stream.send_frame(TEXT, json.dumps(message).encode())

    def read(self) -> dict[str, Any]:
        """Read a message."""
        frame = self.stream.read_frame()
        assert frame.opcode == TEXT, frame
        message: dict[str, Any] = json.loads(frame.payload, parse_constant=pytest.fail)
        return message

    def ask(self, kind: str, **data: Any) -> dict[str, Any]:
        """Send a message, and return the data of the reply."""
        self.send(kind, **data)
        reply = self.read()
        assert reply["type"] == {"state": "state", "mcp": "mcp"}.get(kind, "observation"), reply
        found: dict[str, Any] = reply["data"]
        return found

    def error(self, kind: str, **data: Any) -> dict[str, Any]:
        """Send a message, and return the data of the error that answers it."""
        self.send(kind, **data)
        reply = self.read()
        assert reply["type"] == "error", reply
        assert set(reply["data"]) >= {"code", "message"}
        found: dict[str, Any] = reply["data"]
        return found

    def read_close(self) -> tuple[int | None, str]:
        """Read the frame that closes the connection, and its end."""
        frame = self.stream.read_frame()
        assert frame.opcode == CLOSE
        assert self.stream.socket.recv(1) == b""
        return frame.code, frame.reason


Connect = Callable[..., Client]


@pytest.fixture
def open_env(server: ServerProcess) -> Iterator[Connect]:
    """Connect clients."""
    with ExitStack() as stack:

        def connect(environment: str, **headers: str) -> Client:
            client = Client(server.port, environment, **headers)
            stack.callback(client.stream.close)
            return client

        yield connect


def test_an_episode_is_played(open_env: Connect, server: ServerProcess) -> None:
    """The server does not speak first; terminated, truncated and info are where each package shows them."""
    since = server.mark()
    client = open_env("CartPole-v1")
    assert client.status == 101
    first = client.ask("reset", seed=7, anything="else")
    assert (first["reward"], first["done"]) == (None, False)
    assert first["metadata"] == {"terminated": False, "truncated": False, "info": {}}
    observation = first["observation"]
    assert observation["metadata"] == first["metadata"]
    assert len(observation["observation"]) == 4
    assert (observation["observation_shape"], observation["dtype"]) == ([4], "float32")
    assert observation["legal_actions"] == [0, 1]
    step = client.ask("step", action=1)
    assert (step["reward"], step["done"]) == (1.0, False)
    state = client.ask("state")
    assert (state["step_count"], state["env_id"]) == (1, "CartPole-v1")
    assert state["action_space"]["n"] == 2
    assert client.ask("reset", seed=7)["observation"] == observation
    server.wait_for(r"started: CartPole-v1 for 127\.0\.0\.1:\d+ \(openenv, ", since=since)
    client.stream.close()
    server.wait_for("ended: the client left; CartPole-v1", since=since)


def test_an_episode_ends(open_env: Connect) -> None:
    """A step afterwards is an error that says what to do."""
    client = open_env("Truncated-v0")
    assert "reset" in client.error("step", action=0)["message"]
    client.ask("reset", episode_id="mine")
    assert [client.ask("step", action=0)["done"] for _ in range(3)] == [False, False, True]
    state = client.ask("state")
    assert (state["episode_id"], state["step_count"]) == ("mine", 3)
    error = client.error("step", action=0)
    assert (error["code"], "reset" in error["message"]) == ("EXECUTION_ERROR", True)
    assert client.ask("reset")["done"] is False
    assert client.ask("state")["episode_id"] != "mine"


@pytest.mark.parametrize(
    ("environment", "observation"),
    [
        ("Observe/Unbounded-v0", [None, None, None, 1.5]),
        ("Observe/Matrix-v0", [[0, 1, 2], [3, 4, 5]]),
        ("Observe/Discrete-v0", 3),
        ("Observe/MultiDiscrete-v0", [2, 3]),
        ("Observe/Tuple-v0", [2, [0.5, -0.5]]),
        ("Observe/Text-v0", "größe"),
        ("Observe/Bytes0-v0", 7),
    ],
)
def test_observations_are_json(open_env: Connect, environment: str, observation: Any) -> None:
    """Numbers that are not finite are null."""
    assert open_env(environment).ask("reset")["observation"]["observation"] == observation


def test_the_keys_of_a_dict_are_those_of_the_observation(open_env: Connect) -> None:
    """At its top level."""
    observation = open_env("Observe/Dict-v0").ask("reset")["observation"]
    assert (observation["inner"], observation["pixels"]) == ({"n": 2}, [1, 255])


@pytest.mark.parametrize(
    ("environment", "action"),
    [
        ("Act/Discrete-v0", {"action": 1}),
        ("Act/Discrete-v0", {"action_id": 1, "game_name": "pong", "obs_type": "rgb", "full_action_space": False}),
        ("Act/Box-v0", {"values": [[0.5, -0.5], [1, -1]], "metadata": {}}),
        ("Act/MultiDiscrete-v0", {"actions": [1, 2]}),
        ("Act/Dict-v0", {"action": {"move": 1, "force": [0, 0]}}),
        ("Act/Tuple-v0", {"action": [1, [0.5, 0.5]]}),
        ("Act/Text-v0", {"action": "north"}),
    ],
)
def test_actions_are_objects(open_env: Connect, environment: str, action: dict[str, Any]) -> None:
    """With the names that environments of OpenEnv give them."""
    client = open_env(environment)
    client.ask("reset")
    assert client.ask("step", **action)["done"] is False


@pytest.mark.parametrize(
    "action",
    [
        *({}, {"move": 1}, {"action": 1, "move": 2}),
        *({"action": value} for value in (7, "x", "\0" * 8, None, 10**30)),
    ],
)
def test_other_actions_are_refused(open_env: Connect, action: dict[str, Any]) -> None:
    """With what is expected; the episode goes on."""
    client = open_env("Act/Discrete-v0")
    client.ask("reset")
    error = client.error("step", **action)
    assert error["code"] == "VALIDATION_ERROR"
    assert error["errors"]
    assert client.ask("step", action=0)["done"] is False


def test_numbers_that_are_not_finite_are_read(open_env: Connect) -> None:
    """Python writes them as no JSON has them."""
    client = open_env("Act/Box-v0")
    client.ask("reset")
    assert "NaN" in client.error("step", action=[[float("nan"), 0], [0, 0]])["message"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "INVALID_JSON"),
        ("", "INVALID_JSON"),
        ("[" * 50_000, "INVALID_JSON"),
        ('{"type":"\\ud800"}', "INVALID_JSON"),
        ("[1]", "VALIDATION_ERROR"),
        ('{"type":"jump"}', "UNKNOWN_TYPE"),
        ("{}", "UNKNOWN_TYPE"),
        ('{"type":"reset","data":[1]}', "VALIDATION_ERROR"),
        ('{"type":"reset","data":{"seed":-1}}', "VALIDATION_ERROR"),
        ('{"type":"reset","data":{"encoding":"gif"}}', "VALIDATION_ERROR"),
        ('{"type":"reset","data":{"seed":%s}}' % (400 * "1"), "VALIDATION_ERROR"),
        ('{"type":"reset","data":{"options":{"a":1e400}}}', ""),
        ('{"type":"step","data":{"action":0}}', "EXECUTION_ERROR"),
    ],
)
def test_a_bad_message_is_answered_with_an_error(open_env: Connect, text: str, code: str) -> None:
    """The connection goes on."""
    client = open_env("CartPole-v1")
    client.stream.send_frame(TEXT, text.encode())
    reply = client.read()
    assert reply["data"].get("code", "") == code
    assert client.ask("reset")["done"] is False


def test_an_unknown_environment_is_an_error_of_the_first_reset(open_env: Connect) -> None:
    """One of the packages loses what comes before; then the connection is closed."""
    client = open_env("Nothing-v0")
    assert client.status == 101
    assert client.error("reset")["code"] == "FACTORY_ERROR"
    assert client.read_close()[0] == 1000


def test_arguments_of_an_environment_come_with_the_first_reset(open_env: Connect) -> None:
    """Those that are refused can be corrected."""
    client = open_env("FrozenLake-v1")
    assert client.error("reset", make={"nothing": 1})["code"] == "FACTORY_ERROR"
    assert client.ask("reset", make={"map_name": "8x8"})["observation"]["observation"] == 0
    assert client.ask("state")["observation_space"]["n"] == 64
    assert client.error("reset", make={"map_name": "4x4"})["code"] == "VALIDATION_ERROR"


def test_a_full_server_says_so(open_env: Connect) -> None:
    """In answer to the first reset."""
    played = [open_env("CartPole-v1") for _ in range(6)]
    replies = []
    for client in played:
        client.send("reset")
        replies.append(client.read())
    assert replies[-1]["type"] == "error"
    assert replies[-1]["data"]["code"] == "CAPACITY_REACHED"
    assert replies[-1]["data"]["max_sessions"] == 6
    assert played[-1].read_close()[0] == 1000


@pytest.mark.parametrize("fault", ["RaiseInStep", "SegfaultInStep"])
def test_a_fault_of_the_environment_is_an_error(open_env: Connect, fault: str) -> None:
    """The next reset goes on, even if its process has died."""
    client = open_env(f"Fault/{fault}-v0")
    client.ask("reset")
    assert client.error("step", action=0)["code"] == "EXECUTION_ERROR"
    assert client.ask("reset")["done"] is False


def test_pings_are_answered_during_a_step(open_env: Connect) -> None:
    """A client gives up if none is answered for a while."""
    client = open_env("Fault/SlowStep-v0")
    client.ask("reset")
    client.send("step", action=0)
    client.stream.send_frame(PING, b"1234")
    pong = client.stream.read_frame()
    assert (pong.opcode, pong.payload) == (PONG, b"1234")
    assert client.read()["type"] == "observation"


def test_messages_sent_together_are_answered_in_turn(open_env: Connect) -> None:
    """More of them than are kept wait in the socket."""
    client = open_env("Episodes-v0")
    client.ask("reset")
    for _ in range(60):
        client.send("state")
        client.send("step", action=0)
    kinds = [client.read()["type"] for _ in range(120)]
    assert kinds[:20] == ["state", "observation"] * 10
    assert len(kinds) == 120


def test_a_client_that_does_not_read_is_sent_little(open_env: Connect, server: ServerProcess) -> None:
    """What it asks for waits; it gets all of it when it reads."""
    client = open_env("Observe/Frame-v0")
    client.ask("reset", encoding="list")
    for _ in range(300):
        client.send("step", action=0)
    assert {client.read()["type"] for _ in range(300)} == {"observation"}


def test_a_connection_is_closed_at_once(open_env: Connect) -> None:
    """Otherwise each block of a client would end ten seconds late."""
    client = open_env("CartPole-v1")
    client.ask("reset")
    client.send("close")
    client.stream.send_frame(CLOSE, struct.pack(">H", 1000))
    assert client.read_close()[0] == 1000


@pytest.mark.parametrize(
    ("opcode", "payload", "code"),
    [(BINARY, b"{}", 1003), (TEXT, b"\xff", 1007), (3, b"", 1002), (CLOSE, b"\x00", 1002)],
)
def test_broken_rules_close_the_connection(open_env: Connect, opcode: int, payload: bytes, code: int) -> None:
    """With the code that says which."""
    client = open_env("CartPole-v1")
    client.stream.send_frame(opcode, payload)
    assert client.read_close()[0] == code


def test_a_message_over_the_limit_closes_the_connection(open_env: Connect) -> None:
    """As soon as its length is read."""
    client = open_env("CartPole-v1")
    client.stream.send(bytes([0x81, 0xFF]) + struct.pack(">Q", 1 << 40) + b"mask")
    assert client.read_close()[0] == 1009


def test_images_have_the_form_that_a_client_asks_for(open_env: Connect) -> None:
    """The client of Atari's environment has one of its own."""
    client = open_env("Observe/Frame-v0")
    observation = client.ask("reset")["observation"]
    shape = observation["observation_shape"]
    frame = base64.b64decode(observation["observation"])
    assert (observation["encoding"], len(frame)) == ("base64", int(np.prod(shape)))
    picture = base64.b64decode(client.ask("reset", encoding="png")["observation"]["observation"])
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    start = picture.index(b"IDAT")
    (length,) = struct.unpack(">I", picture[start - 4 : start])
    rows = zlib.decompress(picture[start + 4 : start + 4 + length])
    stride = shape[1] * shape[2]
    assert b"".join(rows[i + 1 : i + 1 + stride] for i in range(0, len(rows), stride + 1)) == frame
    listed = client.ask("reset", encoding="list")["observation"]
    assert (bytes(listed["screen"]), listed["screen_shape"]) == (frame, shape)
    other = open_env("Observe/Frame-v0")
    other.ask("reset")
    step = other.ask("step", action_id=0, game_name="pong")
    assert bytes(step["observation"]["screen"]) == frame


def test_there_are_no_tools(open_env: Connect) -> None:
    """A request of MCP is answered."""
    answer = open_env("CartPole-v1").ask("mcp", jsonrpc="2.0", id=3, method="tools/list")
    assert (answer["id"], answer["error"]["code"]) == (3, -32601)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Sec-WebSocket-Key": "short"}, 426),
    ],
)
def test_a_bad_request_for_websocket_is_refused(open_env: Connect, headers: dict[str, str], status: int) -> None:
    """Another site's page may not play."""
    assert open_env("CartPole-v1", **headers).status == status


def ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    """Send a request by HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, body)
    response = connection.getresponse()
    content = json.loads(response.read())
    connection.close()
    return response.status, content


def test_a_validator_is_answered(server: ServerProcess) -> None:
    """By what ``openenv validate`` asks for, and what waits for a server."""
    base = "/openenv/ALE/Pong-v5"
    assert ask(server.port, "GET", f"{base}/health") == (200, {"status": "healthy"})
    _, metadata = ask(server.port, "GET", f"{base}/metadata")
    assert (metadata["name"], type(metadata["description"])) == ("ALE/Pong-v5", str)
    _, schema = ask(server.port, "GET", f"{base}/schema")
    assert {name: type(schema[name]) for name in schema} == dict.fromkeys(("action", "observation", "state"), dict)
    _, openapi = ask(server.port, "GET", f"{base}/openapi.json")
    assert openapi["info"]["version"].startswith("1.")
    for path, methods in openapi["paths"].items():
        for method in methods:
            assert ask(server.port, method.upper(), base + path, "{}" if method == "post" else None)[0] == 200
    for body in ("{}", "[1]", "{", ""):
        status, answer = ask(server.port, "POST", f"{base}/mcp", body)
        assert (status, answer["jsonrpc"]) == (200, "2.0")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/openenv/CartPole-v1/ws", 426),
        ("PUT", "/openenv/CartPole-v1/health", 405),
        ("POST", "/openenv/CartPole-v1/step", 404),
        ("GET", "/openenv", 404),
        ("GET", "/openenv/CartPole-v1", 404),
    ],
)
def test_other_requests_are_refused(server: ServerProcess, method: str, path: str, status: int) -> None:
    """In JSON."""
    found, problem = ask(server.port, method, path)
    assert (found, "message" in problem) == (status, True)


def test_the_package_plays(server: ServerProcess) -> None:
    """Its generic client, unmodified."""
    client = pytest.importorskip("openenv.core", reason="openenv is not installed").GenericEnvClient
    with client(base_url=f"http://127.0.0.1:{server.port}/openenv/Pendulum-v1").sync() as env:
        assert len(env.reset(seed=1).observation["observation"]) == 3
        assert env.step({"action": [0.5]}).reward < 0
        assert env.state()["step_count"] == 1

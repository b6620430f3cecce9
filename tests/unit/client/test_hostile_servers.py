"""Servers that lie: what they say has the shape that was agreed, and asks for no memory beyond the limits."""

from __future__ import annotations

import socket
import tracemalloc
from time import monotonic, process_time
from typing import Any

import numpy as np
import pytest

from gymtwist.client import (
    ConnectionLost,
    EnvironmentFailed,
    Progress,
    ProtocolBroken,
    RemoteError,
    RequestRefused,
    ServerFailed,
    TimedOut,
    connect,
    connect_vec,
)
from gymtwist.client.connection import Connection
from gymtwist.protocol.adaptive_waiting import WaitPolicy
from gymtwist.protocol.framing import Framing
from gymtwist_conformance.reference_client import INT32, frame, message
from tests.support.client_equivalence import Remote, RemoteVec
from tests.support.patience import PATIENCE
from tests.support.scripted_server import Script, begun, error, made, stepped

pytest_plugins = ("tests.support.client_fixtures",)

_THREE: dict[str, Any] = {
    "single_action_space": {"kind": "Discrete", "n": 2},
    "single_observation_space": {"kind": "Discrete", "n": 5},
    "action_space": {"kind": "MultiDiscrete", "nvec": [2] * 3, "start": [0] * 3, "dtype": "int64"},
    "observation_space": {"kind": "MultiDiscrete", "nvec": [5] * 3, "start": [0] * 3, "dtype": "int64"},
    "num_envs": 3,
    "autoreset_mode": "next_step",
}
_STEP: dict[str, Any] = {
    "observation": bytes(24),
    "reward": bytes(24),
    "terminated": bytes(3),
    "truncated": bytes(3),
}
_BOX: dict[str, Any] = {"kind": "Box", "shape": [1 << 26], "dtype": "float32", "low": 0, "high": 1}
_NOTHING: dict[str, Any] = {**_BOX, "shape": [0]}


class Flooded(socket.socket):
    """Has always something to read, and never room to write."""

    def __init__(self, **arguments: Any) -> None:
        """Take what a socket takes."""
        super().__init__(**arguments)
        self._until = monotonic() + PATIENCE

    def send(self, *arguments: Any) -> int:
        """Take nothing."""
        raise BlockingIOError

    def recv_into(self, *arguments: Any) -> int:
        """Receive a byte."""
        assert monotonic() < self._until
        return 1


@pytest.mark.parametrize("told", [{"kind": "Discrete", "n": 0}, {"kind": "OneOf", "spaces": []}])
def test_the_space_of_one_of_several_is_one(scripted: Script, told: Any) -> None:
    """Else the server has broken the protocol."""
    with pytest.raises(ProtocolBroken, match="violates the protocol"):
        connect_vec(scripted(made(**{**_THREE, "single_action_space": told})).port, "Scripted-v0", 3)


@pytest.mark.parametrize("told", [2, 4, None])
def test_there_are_as_many_environments_as_were_asked_for(scripted: Script, told: int | None) -> None:
    """Else there are none."""
    with pytest.raises(ProtocolBroken, match="num_envs"):
        connect_vec(scripted(made(**{**_THREE, "num_envs": told})).port, "Scripted-v0", 3)


def test_one_environment_is_not_several(scripted: Script) -> None:
    """Its rewards would be arrays."""
    with pytest.raises(ProtocolBroken, match="num_envs"):
        connect(scripted(made(**_THREE)).port, "Scripted-v0")


@pytest.mark.parametrize(
    "fields",
    [
        {"reward": bytes(40)},
        {"reward": 1.0},
        {"reward": [[1.0], [2.0], [3.0]]},
        {"terminated": bytes(9)},
        {"terminated": True},
        {"truncated": [True]},
    ],
)
def test_there_is_a_reward_and_a_flag_for_each(scripted: Script, fields: Any) -> None:
    """What is of another shape is not passed on."""
    step = message(INT32, "step", **{**_STEP, **fields})
    server = scripted(made(**_THREE), message(INT32, "reset", observation=bytes(24)), step)
    theirs = connect_vec(server.port, "Scripted-v0", 3)
    theirs.reset()
    with pytest.raises(ProtocolBroken):
        theirs.step([0] * 3)


@pytest.mark.parametrize("fields", [{"reward": "1.5"}, {"terminated": [True]}, {"truncated": b"\x00"}])
def test_one_reward_is_a_number_and_one_flag_a_boolean(scripted: Script, fields: Any) -> None:
    """Similar values are refused."""
    given = {"observation": bytes(8), "reward": 1.0, "terminated": False, "truncated": False, **fields}
    theirs = connect(scripted(made(), begun(), message(INT32, "step", **given)).port, "Scripted-v0")
    theirs.reset()
    with pytest.raises(ProtocolBroken):
        theirs.step(0)


def test_an_info_has_no_extensions(scripted: Script) -> None:
    """The protocol has none, in a step as elsewhere."""
    step = b"\x86\xa2op\xa4step\xabobservation\xc4\x08" + bytes(8) + b"\xa6reward\xcb" + bytes(8)
    step += b"\xaaterminated\xc2\xa9truncated\xc2\xa4info\x81\xa1a\xd4\x05a"
    theirs = connect(scripted(made(), begun(), frame(INT32, step)).port, "Scripted-v0")
    theirs.reset()
    with pytest.raises(ProtocolBroken, match="extension"):
        theirs.step(0)


@pytest.mark.parametrize("count", [-1, 0, 10**9])
def test_the_number_of_steps_is_not_taken_on_trust(scripted: Script, count: int) -> None:
    """Of observations without a byte there could be any number."""
    taken = {"observations": b"", "rewards": bytes(8), "terminated": False, "truncated": False, "count": count}
    server = scripted(
        made(observation_space=_NOTHING, observation_layout={"leaves": [], "size": 0}),
        message(INT32, "reset", observation=b""),
        message(INT32, "step_many", **taken),
    )
    theirs = connect(server.port, "Scripted-v0")
    theirs.reset()
    with pytest.raises(ProtocolBroken, match="count"):
        theirs.step_many([0], observations="all")


def test_the_arrays_of_a_space_have_a_limit_together(scripted: Script) -> None:
    """Each is within it; the bounds alone would take gigabytes."""
    with pytest.raises(ProtocolBroken, match="in all"):
        connect(scripted(made(observation_space={"kind": "Tuple", "spaces": [_BOX] * 5})).port, "Scripted-v0")


@pytest.mark.parametrize("name", ["observation_space", "reward_space"])
def test_spaces_take_no_more_memory_than_is_allowed(scripted: Script, name: str) -> None:
    """A description of a few bytes can ask for gigabytes."""
    large = {**_BOX, "dtype": "uint8", "shape": [1 << 30]}
    tracemalloc.start()
    try:
        with pytest.raises(RequestRefused, match="max_space_bytes=1073741824") as caught:
            connect(scripted(made(**{name: large})).port, "Scripted-v0")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.code == "limit-exceeded"
    half = {**_BOX, "shape": [100]}
    with pytest.raises(RequestRefused, match="elements of 800 bytes in all, and 799 are allowed"):
        connect(scripted(made(**{name: half, "action_space": half})).port, "Scripted-v0", max_space_bytes=799)
    with connect(scripted(made()).port, "Scripted-v0", max_space_bytes=1) as theirs:
        assert theirs.observation_space.n == 5  # type: ignore[attr-defined]


def test_spaces_take_no_more_time_than_is_allowed(scripted: Script) -> None:
    """A description may have thousands of parts; no part of them is read after the timeout."""
    many = {"kind": "Tuple", "spaces": [{"kind": "Discrete", "n": 2}] * 10_000}
    before = process_time()
    with pytest.raises(TimedOut, match=r"within 0\.3 s"):
        connect(scripted(made(observation_space=many)).port, "Scripted-v0", timeout=0.3)
    assert process_time() - before < 1.0


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        # The length alone is refused: the bytes never come.
        ((200 << 20).to_bytes(4, "big") + b"\x81", "at most"),
        (frame(INT32, b"\x82\xa2op\xa4make\xa8metadata\x81\xa1a\xdd\x00\x20\x00\x00" + b"\x80" * (1 << 21)), "parts"),
    ],
)
def test_a_reply_to_make_takes_no_more_memory_than_its_spaces(scripted: Script, reply: bytes, words: str) -> None:
    """Nor as bytes, nor as the objects that are made of them."""
    with pytest.raises(ProtocolBroken, match=words):
        connect(scripted(reply).port, "Scripted-v0")


def test_the_text_of_an_error_does_not_act_on_the_terminal(scripted: Script) -> None:
    """What is a control character is escaped."""
    told = message(INT32, "error", code="a\x1b[2Jcode", message="what\r\x1b[2K\u202e to do\x07", fault="request")
    with pytest.raises(RequestRefused) as caught:
        connect(scripted(told).port, "Scripted-v0")
    assert caught.value.message == "what\\r\\x1b[2K\\u202e to do\\x07"
    assert caught.value.code == "a\\x1b[2Jcode"
    for fields in ({"autoreset_mode": "\x1b[2J"}, {"observation_space": {"kind": "\x1b[2J"}}):
        with pytest.raises(ProtocolBroken) as broken:
            connect(scripted(made(**fields)).port, "Scripted-v0")
        assert str(broken.value).isprintable()


@pytest.mark.parametrize(
    ("unasked", "kind", "words"),
    [
        (stepped(4), ProtocolBroken, "a reply without a request"),
        (stepped(4)[:9], ProtocolBroken, "a reply without a request"),
        (error("server"), ServerFailed, "what to do"),
    ],
)
def test_a_reply_that_nobody_asked_for_is_not_taken_for_another(
    scripted: Script, unasked: bytes, kind: type[RemoteError], words: str
) -> None:
    """It would be the reply to the next request; an error says why the server closes."""
    theirs = connect(scripted(made(), begun() + unasked, stepped(1)).port, "Scripted-v0")
    theirs.reset()
    with pytest.raises(kind, match=words):
        theirs.step(0)
    with pytest.raises(kind, match="connect again"):
        theirs.step(0)


def test_observations_can_be_checked(scripted: Script) -> None:
    """One that is not in its space is an error; the episode continues."""
    script = (made(), begun(5), begun(4), stepped(7), stepped(2), begun(4, plain_numbers=True), stepped(7))
    with connect(scripted(*script).port, "Scripted-v0") as trusting:
        assert trusting.reset()[0] == 5
    with connect(scripted(*script).port, "Scripted-v0", check_observations=True) as theirs:
        with pytest.raises(EnvironmentFailed, match="observation is 5: its space has an integer from 0 to 4"):
            theirs.reset()
        assert theirs.reset()[0] == 4
        with pytest.raises(EnvironmentFailed, match="observation is 7") as caught:
            theirs.step(0)
        assert (caught.value.code, caught.value.reset_needed) == ("invalid-observation", False)
        assert theirs.step(0)[0] == 2
        assert type(theirs.reset()[0]) is int
        with pytest.raises(EnvironmentFailed, match="observation is 7"):
            theirs.step(0)


def test_observations_of_several_can_be_checked(scripted: Script) -> None:
    """The error names the environment."""
    seen = message(INT32, "reset", observation=np.array([0, 7, 0]).tobytes())
    theirs = connect_vec(scripted(made(**_THREE), seen).port, "Scripted-v0", 3, check_observations=True)
    with pytest.raises(EnvironmentFailed, match=r"^environment 1: observation is 7: its space has") as caught:
        theirs.reset()
    assert caught.value.environments == (1,)


def test_a_server_that_sends_without_end_and_does_not_read_is_not_waited_for() -> None:
    """For longer than the timeout."""
    ours, peer = socket.socketpair()
    with peer, Flooded(fileno=ours.detach()) as flooded:
        peer.send(b"x")
        connection = Connection(flooded, "the server", Framing.INT32, 0.1, WaitPolicy(0.0))
        with pytest.raises(TimedOut):
            connection.send(b"a request")


def test_several_environments_render_a_list(scripted: Script) -> None:
    """Of a frame for each."""
    server = scripted(
        made(**_THREE, render_mode="ansi"),
        message(INT32, "reset", observation=bytes(24)),
        message(INT32, "render", frame=True),
    )
    theirs = connect_vec(server.port, "Scripted-v0", 3, render_mode="ansi")
    theirs.reset()
    with pytest.raises(ProtocolBroken, match="list of frames"):
        theirs.render()


@pytest.mark.parametrize("host", ["a..b", "x" * 300])
def test_a_name_that_no_host_can_have_is_that_of_no_server(host: str) -> None:
    """It is not an error of the codec of names."""
    with pytest.raises(ConnectionLost, match="no connection"):
        connect(f"{host}:5001", "CartPole-v1")


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e30, "3", True])
def test_a_time_is_one_that_can_be_waited(seconds: Any) -> None:
    """Else it is refused before anything is opened."""
    for name in ("timeout", "connect_timeout"):
        with pytest.raises(ValueError, match=f"{name} is .*expected seconds"):
            connect(5001, "CartPole-v1", **{name: seconds})


@pytest.mark.parametrize("number", [0, -1, 2.0, "2", True])
def test_a_number_of_environments_is_an_integer(number: Any) -> None:
    """From 1."""
    with pytest.raises(ValueError, match=r"num_envs is .*expected an integer from 1"):
        connect_vec(5001, "CartPole-v1", number)


def test_a_request_that_is_too_long_for_the_server_is_refused_here(remote: Remote) -> None:
    """The server would close the connection; so the episode goes on."""
    theirs = remote("CartPole-v1")
    theirs.reset(seed=1)
    with pytest.raises(RequestRefused, match="16777216 at most") as caught:
        theirs.reset(options={"text": "x" * 20_000_000})
    assert caught.value.code == "limit-exceeded"
    theirs.step(0)


def test_a_seed_has_64_bits(remote: Remote) -> None:
    """As integers in messages have."""
    theirs = remote("CartPole-v1")
    theirs.reset(seed=2**64 - 1)
    with pytest.raises(RequestRefused, match=r"0 to 2\*\*64 - 1"):
        theirs.reset(seed=2**64)


def test_what_one_process_would_refuse_is_not_sent_to_the_others(remote_vec: RemoteVec) -> None:
    """They would have taken the step."""
    theirs = remote_vec("CartPole-v1", 2, processes=2)
    theirs.reset()
    with pytest.raises(RequestRefused, match="environment 1: action is 7") as caught:
        theirs.step([0, 7])
    assert not caught.value.reset_needed
    theirs.step(np.zeros(2, np.int64))
    with pytest.raises(RequestRefused, match="not iterable"):
        theirs.step_many(None)


def test_the_connection_ends_with_whatever_the_callback_raises(scripted: Script) -> None:
    """Even if it is an error of the client, which has closed the connection otherwise."""

    def report(progress: Progress) -> None:
        raise TimedOut("that is enough")

    server = scripted(b"", b"")
    with pytest.raises(TimedOut, match="that is enough") as caught:
        connect(server.port, "Scripted-v0", progress=report)
    server.end()
    assert caught.value.code == "timed-out"

"""What goes wrong: whose fault it is, what it says, and whether the environment goes on."""

from __future__ import annotations

import pickle
import socket
from typing import Any

import gymnasium
import numpy as np
import pytest

import gymtwist.client
from gymtwist.client import (
    Closed,
    ConnectionLost,
    EnvironmentFailed,
    InvalidAction,
    ProtocolBroken,
    RemoteError,
    RequestRefused,
    ResetNeeded,
    ServerFailed,
    TimedOut,
    connect,
)
from gymtwist.errors import GymtwistError
from gymtwist_conformance.reference_client import INT32, frame, message
from tests.support.client_environments import NoDoor, Unnamed
from tests.support.client_equivalence import Remote, assert_same
from tests.support.scripted_server import Script, begun, error, made, stepped
from tests.support.server_process import ServerProcess

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)


def test_errors_are_one_tree() -> None:
    """Every error derives from RemoteError and has a stable code."""
    found = [each for each in vars(gymtwist.client).values() if isinstance(each, type) and issubclass(each, Exception)]
    kinds = [each for each in found if issubclass(each, RemoteError)]
    assert len(kinds) == len(found) == 13
    assert issubclass(RemoteError, GymtwistError)
    assert len({each.code for each in kinds} - {RemoteError.code}) == 11


@pytest.mark.parametrize(
    "kind", [RequestRefused, InvalidAction, ResetNeeded, EnvironmentFailed, ConnectionLost, TimedOut]
)
def test_an_error_can_go_to_another_process(kind: type[RemoteError]) -> None:
    """Errors can be pickled, so that they can leave a worker process."""
    copied = pickle.loads(pickle.dumps(kind("what to do", code="a-code", reset_needed=True)))
    assert type(copied) is kind
    assert (str(copied), copied.message, copied.code, copied.reset_needed) == (
        "what to do",
        "what to do",
        "a-code",
        True,
    )


# The client's requests


@pytest.mark.parametrize(
    ("environment", "arguments", "code", "words"),
    [
        ("CartPole-v9", {}, "unknown-environment", 'did you mean "CartPole-v1"'),
        ("CartPole-v1", {"gravity": 3}, "unknown-kwarg", 'no kwarg "gravity"'),
        ("CartPole-v1", {"render_mode": "ansi"}, "invalid-field", "no render mode"),
        ("CartPole-v1", {"render_mode": "human"}, "bad-request", "--display"),
        ("CartPole-v1", {"max_episode_steps": 0}, "invalid-field", "max_episode_steps"),
        ("CartPole-v1", {"info": "some"}, "invalid-field", "info"),
        ("Kwargs-v0", {"kwargs": {"timeout": object()}}, "invalid-field", "kwargs"),
        ("", {}, "invalid-field", "id"),
    ],
)
def test_an_environment_that_cannot_be_made_is_refused(
    remote: Remote, protocol: str, environment: str, arguments: Any, code: str, words: str
) -> None:
    """The error has the server's code and message."""
    with pytest.raises(RequestRefused) as caught:
        remote(environment, protocol=protocol, **arguments)
    assert (caught.value.code, caught.value.fault, caught.value.reset_needed) == (code, "request", False)
    assert words in caught.value.message == str(caught.value)


def test_an_unknown_kwarg_has_the_words_of_python(served: ServerProcess, protocol: Any) -> None:
    """Libraries look for them to try again without it."""
    arguments: Any = {"address": served.port, "env_id": "CartPole-v1", "sutton_barto_reward": True, "frameskip": 4}
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip': CartPole-v1 takes no kwarg"):
        connect(protocol=protocol, **arguments)
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip'"):
        gymnasium.make("gymtwist/Remote-v0", **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"protocol": "classic"},
        {"timeout": 0},
        {"timeout": -1.0},
        {"connect_timeout": 0},
        {"progress": 5},
        {"address": "nowhere"},
        {"shared_memory": "x"},
        {"check_observations": 1},
        {"max_space_bytes": 0},
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_anything_is_sent(arguments: Any) -> None:
    """They raise ValueError without a connection."""
    with pytest.raises(ValueError, match="expected"):
        connect(**{"address": 5001, "env_id": "CartPole-v1", **arguments})


@pytest.mark.parametrize("action", [2, -1, 0.5, 1.0, "left", None, [0], np.array([0]), np.array(0.0)])
def test_an_invalid_action_is_refused(remote: Remote, protocol: str, action: Any) -> None:
    """The episode continues as if the action had not been sent."""
    theirs, beside = remote("CartPole-v1", protocol=protocol), remote("CartPole-v1")
    theirs.reset(seed=3)
    beside.reset(seed=3)
    with pytest.raises(RequestRefused) as caught:
        theirs.step(action)
    assert caught.value.code == "invalid-action"
    assert isinstance(caught.value, gymnasium.error.InvalidAction)
    assert_same(theirs.step(1), beside.step(1))


@pytest.mark.parametrize("action", [1, True, np.int64(1), np.int8(1), np.array(1), np.uint8(1)])
def test_an_action_may_be_any_kind_of_integer(remote: Remote, action: Any) -> None:
    """Python's and NumPy's integers are accepted, as by a local environment."""
    theirs, beside = remote("CartPole-v1"), remote("CartPole-v1")
    theirs.reset(seed=3)
    beside.reset(seed=3)
    assert_same(theirs.step(action), beside.step(1))


@pytest.mark.parametrize(
    ("kind", "action", "words"),
    [
        ("MultiDiscrete", [0.5, 1], "send integers"),
        ("Discrete", "left", r'"left": send integers \(int64\), not text'),
        ("MultiDiscrete", [0, 2**40], "fit int32"),
        ("MultiDiscrete", [0, 7], r"action\[1\] is 7"),
        ("MultiBinary", [[1, 0, 300]] * 2, "fit int8"),
        ("Packed", {"flag": [0, 0, 1], "force": [0.0, 0.0], "n": 0.5}, "0.5"),
        ("Packed", {"flag": [0, 0, 1], "force": [0.0, 0.0]}, "has no 'n'"),
        ("Tuple", (0, [0.0, 0.0]), "parts"),
        ("Box", np.zeros(3), "shape"),
        ("Text", 5, "text"),
    ],
)
def test_an_action_that_would_be_cut_to_fit_is_refused(remote: Remote, kind: str, action: Any, words: str) -> None:
    """A conversion must not change an action."""
    theirs = remote(f"Sampling/{kind}-v0")
    theirs.reset(seed=3)
    with pytest.raises(RequestRefused, match=words) as caught:
        theirs.step(action)
    assert caught.value.code == "invalid-action"
    theirs.step(theirs.action_space.sample())


def test_a_step_needs_an_episode(remote: Remote) -> None:
    """A step before the first reset raises ResetNeeded."""
    theirs = remote("CartPole-v1")
    with pytest.raises(ResetNeeded, match="reset") as caught:
        theirs.step(0)
    assert isinstance(caught.value, gymnasium.error.ResetNeeded)
    assert caught.value.code == "reset-needed"
    theirs.reset()
    theirs.step(0)


def test_options_that_no_message_can_carry_are_refused(remote: Remote) -> None:
    """Options that cannot be encoded are refused before anything is sent."""
    theirs = remote("CartPole-v1")
    with pytest.raises(RequestRefused, match="options"):
        theirs.reset(options={"x": object()})
    theirs.reset()


# The environment's faults


def test_an_environment_that_raises_has_failed(remote: Remote, protocol: str) -> None:
    """The environment must be reset and then works again."""
    theirs = remote("Fault/RaiseInStep-v0", protocol=protocol)
    for _ in range(2):
        theirs.reset()
        with pytest.raises(EnvironmentFailed, match="raised ValueError in step: the pole is not there") as caught:
            theirs.step(0)
        assert (caught.value.code, caught.value.reset_needed) == ("environment-fault", True)
        for each in (caught.value, pickle.loads(pickle.dumps(caught.value))):
            assert isinstance(each, ValueError)
            assert str(each) == caught.value.message
        with pytest.raises(ResetNeeded):
            theirs.step(0)


def test_exceptions_that_an_environment_raises(remote: Remote, protocol: str) -> None:
    """An error is of the built-in class as well, with the server's text; an OSError is one of the connection."""
    theirs = remote("Raising-v0", protocol=protocol)
    for kind, wanted in ((KeyError, KeyError), (NoDoor, LookupError), (OSError, Exception), (Unnamed, Exception)):
        words = f"^the environment raised {kind.__name__} in reset: '?no door'?$"
        with pytest.raises(EnvironmentFailed, match=words) as caught:
            theirs.reset(options={"kind": kind.__name__})
        assert isinstance(caught.value, wanted)
        assert not isinstance(caught.value, OSError)


def test_an_environment_that_cannot_be_made_has_failed(remote: Remote, protocol: str) -> None:
    """The error names what the constructor raised."""
    with pytest.raises(EnvironmentFailed, match="raised ValueError in make"):
        remote("Fault/RaiseInMake-v0", protocol=protocol)


# The connection


def test_a_missing_server_is_a_connection_error() -> None:
    """The message names the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = rf"no connection to 127.0.0.1:{port} within 0.01 s: .*is the server running"
    with pytest.raises(ConnectionLost, match=words) as caught:
        connect(f"127.0.0.1:{port}", "CartPole-v1", connect_timeout=0.01)
    assert isinstance(caught.value, ConnectionError)
    with pytest.raises(ConnectionLost, match="no connection to unix:nowhere"):
        connect("unix:nowhere.sock", "CartPole-v1", connect_timeout=0.01)


def test_a_silent_server_times_out(scripted: Script) -> None:
    """Later requests fail with the same reason."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimedOut, match=r"within 0.1 s"):
        connect(silent.getsockname(), "CartPole-v1", timeout=0.1)


def test_a_reply_that_does_not_come_in_time_closes_the_connection(remote: Remote) -> None:
    """A late reply must not be mistaken for another."""
    theirs = remote("Fault/SlowStep-v0", timeout=1.0)
    theirs.reset()
    with pytest.raises(TimedOut) as caught:
        theirs.step(0)
    assert isinstance(caught.value, TimeoutError)
    for use in (theirs.reset, lambda: theirs.step(0)):
        with pytest.raises(TimedOut, match="connect again"):
            use()
    theirs.close()


def test_a_server_that_goes_away_is_missed(served: ServerProcess, scripted: Script) -> None:
    """The next request fails, and so does every later one."""
    server = scripted(made(), begun())
    theirs = connect(server.port, "Scripted-v0")
    theirs.reset()
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="has ended"):
            theirs.step(0)
    theirs.close()
    with pytest.raises(ConnectionLost):
        theirs.reset()


def test_a_closed_environment_says_so(remote: Remote) -> None:
    """Every method of a closed environment raises the same error."""
    theirs = remote("Episodes-v0", render_mode="rgb_array")
    theirs.close()
    for use in (theirs.reset, lambda: theirs.step(0), theirs.render, theirs.sample, theirs.recv):
        with pytest.raises(Closed, match="connect again"):
            use()


# The server's faults


@pytest.mark.parametrize(("fault", "kind"), [("protocol", ProtocolBroken), ("server", ServerFailed)])
def test_an_error_after_which_the_server_closes_is_the_last(
    scripted: Script, fault: str, kind: type[RemoteError]
) -> None:
    """Later requests repeat the reason."""
    server = scripted(made(), error(fault))
    theirs = connect(server.port, "Scripted-v0")
    with pytest.raises(kind, match="what to do") as caught:
        theirs.reset()
    assert (caught.value.code, caught.value.fault) == ("a-code", fault)
    with pytest.raises(kind, match="connect again"):
        theirs.reset()


def test_a_crash_is_followed_by_a_fresh_environment(scripted: Script) -> None:
    """The connection stays, and a reset starts a fresh environment."""
    crash = error("environment", "environment-fault", reset_needed=True)
    server = scripted(made(), begun(), crash, error("request", "reset-needed"), begun(3), stepped(4))
    with connect(server.port, "Scripted-v0") as theirs:
        theirs.reset()
        with pytest.raises(EnvironmentFailed) as caught:
            theirs.step(0)
        assert caught.value.reset_needed
        with pytest.raises(ResetNeeded):
            theirs.step(0)
        assert theirs.reset() == (3, {})
        assert theirs.step(1) == (4, 1.0, False, False, {})


@pytest.mark.parametrize(
    "answer",
    [
        begun(),
        frame(INT32, b"\xc1"),
        frame(INT32, b"\x90"),
        message(INT32, "dance"),
        message(INT32, "step"),
        message(INT32, "step", observation=b"short", reward=1.0, terminated=False, truncated=False),
        message(INT32, "step", observation=bytes(8), reward="much", terminated=False, truncated=False),
        message(INT32, "step", observation=1, reward=1.0, terminated=False, truncated=False),
        message(INT32, "error", code="a", message="b", fault="nobody's"),
        b"\x00\x00\x00\x00",
    ],
)
def test_an_invalid_reply_closes_the_connection(scripted: Script, answer: bytes) -> None:
    """An invalid reply is a violation of the protocol."""
    server = scripted(made(), begun(), answer)
    theirs = connect(server.port, "Scripted-v0")
    theirs.reset()
    with pytest.raises(ProtocolBroken, match="protocol") as caught:
        theirs.step(0)
    assert caught.value.fault == "protocol"
    with pytest.raises(ProtocolBroken):
        theirs.reset()


@pytest.mark.parametrize(
    "fields",
    [
        {"action_space": {"kind": "Pentagon"}},
        {"action_space": {"kind": "Discrete", "n": 0}},
        {"observation_space": {"kind": "Box", "shape": [2], "dtype": "float32", "low": "x", "high": 1}},
    ],
)
def test_a_server_that_describes_no_space_breaks_the_protocol(scripted: Script, fields: Any) -> None:
    """An invalid description of a space is a violation of the protocol."""
    with pytest.raises(ProtocolBroken):
        connect(scripted(made(**fields)).port, "Scripted-v0")

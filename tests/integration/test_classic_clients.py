"""The classic protocol as a client sees it: the handshake, the nine packet types, and how bytes may arrive."""

from __future__ import annotations

from pathlib import Path

import pytest

from gymtwist_conformance.reference_client import Refused
from gymtwist_conformance.reference_client.classic_client import (
    RENDER,
    RESET,
    SAMPLE,
    error_text,
    handshake,
    space,
    step,
)
from tests.support.server_process import ServerProcess

#: Whether to measure the coverage of its server.
MEASURED = True
OPTIONS = ("--display",)
VARIABLES = {"SDL_VIDEODRIVER": "dummy"}

UNIVERSE_AND_UPLOAD = ["upload", "universe_configure", "universe_wrap"]


# The handshake


def test_a_handshake_is_answered_by_an_empty_error_string(server: ServerProcess) -> None:
    """A known id opens an environment."""
    with server.connect() as client:
        client.send(handshake("CartPole-v1"))
        assert client.read_string() == ""


def test_an_id_that_gymnasium_does_not_know_is_looked_for_in_gym(server: ServerProcess) -> None:
    """An id that Gymnasium does not register is served from Gym."""
    with server.open("NewGym-v0") as client:
        client.reset()
        assert client.step(1).info["new"] is True


def test_an_environment_that_takes_no_render_mode(server: ServerProcess) -> None:
    """It is made without one, although its metadata has modes."""
    with server.open("Arguing-v0") as client:
        client.play(2)
        assert client.step(0).info == {"given": "(0, 0.0, None)"}


def test_an_environment_of_gym_alone_needs_its_prefix(server: ServerProcess) -> None:
    """An id with the prefix `gymnasium:` is never served from Gym."""
    with pytest.raises(Refused, match="NewGym"):
        server.open("gymnasium:NewGym-v0")


@pytest.mark.parametrize("environment", ["CartPole-v77", "Nowhere-v0", "no/Such-v1", "gym:", ":", "a b", "ö"])
def test_an_unknown_id_is_refused_with_an_error_string(server: ServerProcess, environment: str) -> None:
    """The client reads an error before the connection closes."""
    with server.connect() as client:
        client.send(handshake(environment))
        assert error_text(client.read_to_end())


def test_the_error_of_an_unknown_id_names_it_and_a_near_one(server: ServerProcess) -> None:
    """The message suggests the nearest registered id."""
    with pytest.raises(Refused, match=r"CartPol-v1.*CartPole-v1"):
        server.open("CartPol-v1")


def test_a_refusal_is_logged(server: ServerProcess) -> None:
    """The log names the client and the reason."""
    with server.connect() as client:
        client.send(handshake("Nowhere-v0"))
        client.read_to_end()
        server.wait_for(rf'unknown environment "Nowhere-v0".* for \S+:{client.port}, ', since=server.since(client))


def test_the_log_names_the_session_and_sums_it_up(server: ServerProcess) -> None:
    """One line reports the start of a session, another its end with a summary."""
    with server.open("CartPole-v1") as client:
        client.play(3)
        session = server.session(client)
        assert session.environment == "CartPole-v1"
        port = client.port
    assert server.end(session).startswith(f"the client left; CartPole-v1 for 127.0.0.1:{port}, 3 steps, ")


# The packet types


def test_a_step_returns_observation_reward_done_and_info(server: ServerProcess) -> None:
    """A reply has the four parts in this order."""
    with server.open("CartPole-v1") as client:
        client.reset()
        observation, reward, done, info = client.step(1)
        assert (len(observation), reward, done, info) == (4, 1.0, False, {})


def test_termination_is_done(server: ServerProcess) -> None:
    """A terminated episode is done: CartPole falls when it is always pushed to the left."""
    with server.open("CartPole-v1") as client:
        client.reset()
        assert any(client.step(0).done for _ in range(20))


def test_truncation_is_done(server: ServerProcess) -> None:
    """An episode that reaches its limit of steps is done."""
    with server.open("Truncated-v0") as client:
        client.reset()
        assert [client.step(0).done for _ in range(3)] == [False, False, True]
        client.reset()
        assert not client.step(0).done


def test_the_spaces_of_cartpole(server: ServerProcess) -> None:
    """Bounds come flat, and those that are infinite as 1e30."""
    with server.open("CartPole-v1") as client:
        assert {"type": "Discrete", "n": 2}.items() <= client.space(0).items()
        box = client.space(1)
        assert (box["type"], box["shape"]) == ("Box", [4])
        assert box["low"][1::2] == pytest.approx([-1e30, -1e30], rel=1e-6)
        assert box["high"] == pytest.approx([4.8, 1e30, 0.41887903, 1e30], rel=1e-6)
        assert max(box["high"]) <= 1e30


def test_spaces_may_be_asked_for_before_the_first_reset(server: ServerProcess) -> None:
    """A client may ask for spaces before it resets."""
    with server.open("CartPole-v1") as client:
        assert client.space(0)["type"] == "Discrete"
        assert client.sample() in (0, 1)
        client.play()


def test_sampled_actions_are_of_the_space_and_vary(server: ServerProcess) -> None:
    """Samples are random."""
    with server.open("CartPole-v1") as client:
        assert {client.sample() for _ in range(64)} == {0, 1}


def test_render_is_answered_by_nothing_at_all(server: ServerProcess) -> None:
    """The next bytes after a render are the reply to the next command."""
    with server.open("CartPole-v1") as client:
        client.reset()
        client.send(RENDER + RENDER + step(0) + RENDER + step(0))
        assert client.read_step().reward == 1.0
        assert client.read_step().reward == 1.0


def test_render_in_a_window_leaves_the_connection_usable(server: ServerProcess) -> None:
    """With --display, here on a screen that exists in memory only, playing goes on."""
    pytest.importorskip("pygame")
    with server.open("CartPole-v1") as client:
        client.reset()
        for _ in range(3):
            client.render()
            client.step(0)


@pytest.mark.parametrize("command", UNIVERSE_AND_UPLOAD)
def test_a_retired_command_gets_an_error_and_the_session_continues(server: ServerProcess, command: str) -> None:
    """Upload and Universe return an error string; the connection stays open."""
    with server.open("CartPole-v1") as client:
        for _ in range(2):
            with pytest.raises(Refused):
                getattr(client, command)("something")
        client.play()


def test_a_monitor_records_from_the_classic_protocol(server: ServerProcess) -> None:
    """The answer to a monitor that works is an empty error string."""
    with server.open("CartPole-v1") as client:
        client.monitor(str(Path(server.directory) / "classic"))
        client.play()


# A connection without an environment


def test_an_empty_id_opens_a_connection_for_uploads(server: ServerProcess) -> None:
    """The handshake succeeds and every upload gets a reply."""
    with server.open("") as client:
        for _ in range(3):
            with pytest.raises(Refused):
                client.upload("/tmp/results", "key", "algorithm")


@pytest.mark.parametrize("command", [RESET, SAMPLE, step(0), space(0)])
def test_a_session_without_an_environment_cannot_be_played(server: ServerProcess, command: bytes) -> None:
    """Any command but an upload closes the connection."""
    with server.open("") as client:
        client.send(command)
        client.wait_closed()


# How bytes may arrive


def test_commands_may_follow_the_handshake_at_once(server: ServerProcess) -> None:
    """A client need not wait for any reply."""
    with server.connect() as client:
        client.send(handshake("CartPole-v1") + RESET + step(0) + space(0))
        client.read_error()
        assert len(client.read_observation()) == 4
        assert client.read_step().reward == 1.0
        assert '"Discrete"' in client.read_string()


def test_pipelined_commands_are_answered_in_order(server: ServerProcess) -> None:
    """Three hundred steps in one send; the n-th reply is the n-th step's."""
    with server.open("Episodes-v0") as client:
        client.send((RESET + b"".join(step(0) for _ in range(10))) * 30)
        for _ in range(30):
            client.read_observation()
            assert [client.read_step().reward for _ in range(10)] == list(range(1, 11))


def test_commands_of_different_kinds_may_be_pipelined(server: ServerProcess) -> None:
    """Every reply has its own form, and comes in its turn."""
    with server.open("Observe/Frame-v0") as client:
        client.send((RESET + space(0) + step(0) + SAMPLE + b"\x07\x00\x00\x00\x00") * 50)
        for _ in range(50):
            assert client.read_observation().shape == (210, 160, 3)
            assert '"Discrete"' in client.read_string()
            assert client.read_step().reward == 1.0
            assert client.read_action() in (0, 1)
            assert client.read_string()


def test_everything_may_come_byte_by_byte(server: ServerProcess) -> None:
    """Nothing depends on how the network cuts the stream."""
    with server.connect() as client:
        client.drip(handshake("CartPole-v1"))
        client.read_error()
        client.drip(RESET + step(1) + space(1) + SAMPLE + b"\x06" + b"\x01\x00\x00\x00a" * 3 + step(0))
        assert len(client.read_observation()) == 4
        assert client.read_step().reward == 1.0
        assert '"Box"' in client.read_string()
        assert client.read_action() in (0, 1)
        assert client.read_string()
        assert client.read_step().reward == 1.0


def test_a_client_that_has_finished_sending_still_gets_its_replies(server: ServerProcess) -> None:
    """A half-closed connection is answered to the end, then closed."""
    with server.open("Observe/Frame-v0") as client:
        client.send(RESET + step(0) * 20)
        client.socket.shutdown(1)
        assert client.read_observation().shape == (210, 160, 3)
        for _ in range(20):
            assert client.read_step().observation.shape == (210, 160, 3)
        assert client.read_to_end() == b""

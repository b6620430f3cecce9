"""The server under test, as one check sees it, and the client that the checks use."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pytest

from gymtwist_conformance.reference_client import (
    INT32,
    NETSTRING,
    Failed,
    SharingClient,
    Stepped,
    Violation,
    message,
)
from gymtwist_conformance.reference_client.byte_stream import ByteStream, require

_Stream = TypeVar("_Stream", bound=ByteStream)
#: Seconds between the pieces of a frame that is sent in pieces.
_PAUSE = 0.0002


@dataclass(frozen=True)
class Options:
    """What the author of a server tells the checks about it.

    Attributes:
        server: Its host and port.
        environment: An environment with Discrete actions whose episodes end.
        continuous: An environment whose actions are a bounded Box of floats; empty if there is none.
        also: Further environments whose values are checked.
        raising: An environment whose step raises; empty if there is none.
        exception: The name of the built-in exception that it raises; empty if it is not known.
        dying: An environment whose step ends its process; empty if there is none.
        vector_rewards: An environment whose rewards are arrays; empty if there is none.
        mirror: An environment that returns the actions it gets; empty if there is none.
        attribute: A numeric attribute of the first environment that clients may read and change; empty if
            there is none.
        agents: A multi-agent environment with Discrete actions that supports both APIs and whose agents terminate;
            empty if there is none.
        render_mode: A render mode of the first environment; empty if it has none.
        num_envs: The number of environments in a vector; 0 if the server has no vectors.
        max_sessions: How many sessions the server has, if three more clients can wait in its queue; 0 if that is not
            known.
        token: The token that the server requires.
        framing: The framings to check; empty for both.
        patience: Seconds to wait for a reply.
    """

    server: tuple[str, int]
    environment: str = "CartPole-v1"
    continuous: str = "Pendulum-v1"
    also: tuple[str, ...] = ()
    raising: str = ""
    exception: str = ""
    dying: str = ""
    vector_rewards: str = ""
    mirror: str = ""
    attribute: str = ""
    agents: str = ""
    render_mode: str = "rgb_array"
    num_envs: int = 3
    max_sessions: int = 0
    token: str | None = None
    framing: tuple[str, ...] = (NETSTRING, INT32)
    patience: float = 10.0

    @property
    def environments(self) -> list[str]:
        """Every environment whose values are checked."""
        return [each for each in (self.environment, self.continuous, *self.also) if each]


class Probe(SharingClient):
    """A client that reports what it expected."""

    def send(self, data: bytes) -> None:
        """Send bytes; if the server has closed the connection, it has sent the reason before."""
        try:
            super().send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except TimeoutError:
            raise Violation(f"the server does not read: {len(data)} bytes were not taken in time") from None

    def send_each(self, pieces: Iterable[bytes], pause: float = _PAUSE) -> None:
        """Send each piece in a segment of its own."""
        super().send_each(pieces, pause)

    def encoded(self, op: str, **fields: Any) -> bytes:
        """Encode a request as a frame."""
        return message(self.encoding, op, **fields)

    def steps(self, actions: Iterable[Any]) -> list[Stepped]:
        """Take steps, at most until the episode of a single environment ends."""
        taken: list[Stepped] = []
        for action in actions:
            taken.append(self.step(action))
            if self.num_envs is None and taken[-1].is_over:
                break
        return taken

    def expect_error(
        self, what: str, *codes: str, fault: str | tuple[str, ...] = "request", reset_needed: bool | None = False
    ) -> Failed:
        """Read the next reply, which must be an error.

        Args:
            what: What was requested, for the report.
            *codes: The codes that the error may have; without any, all are allowed.
            fault: The fault that it must name, or those that it may name.
            reset_needed: Whether it must say that a reset is needed; None if both are allowed.
        """
        told = self.hear()
        op = told.pop("op")
        require(op == "error", f'{what} was answered with "{op}"; expected an error')
        error = Failed(**told)
        got = f"{what} was answered with the error {error}"
        require(not codes or error.code in codes, f"{got}; expected {' or '.join(codes)}")
        require(error.fault in (fault if isinstance(fault, tuple) else (fault,)), f"{got}; expected the fault {fault}")
        require(error.message.strip(), f"{got}, without a message")
        right = reset_needed in (None, error.reset_needed)
        require(right, f"{got} and reset_needed {error.reset_needed}; expected {reset_needed}")
        return error

    def expect_end(self, what: str) -> None:
        """Read to the end of the stream, where no further message may come."""
        try:
            told = self.hear()
        except (EOFError, ConnectionResetError):
            return
        except TimeoutError:
            raise Violation(f"after {what}, the server did not close the connection") from None
        raise Violation(f"after {what}, the server sent {told!r:.200}; expected the end of the connection")


@dataclass
class Subject:
    """The server, for one check in one framing. Leaving its context closes the connections of the check.

    Attributes:
        options: What is known about the server.
        encoding: The framing.
    """

    options: Options
    encoding: str
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Subject:
        """Return the subject itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close every connection."""
        self._open.close()

    @property
    def is_json(self) -> bool:
        """Whether the framing carries JSON."""
        return self.encoding == NETSTRING

    def connect(self, encoding: str = "") -> Probe:
        """Connect without sending anything."""
        host, port = self.options.server
        probe = Probe.connect(port, host, encoding=encoding or self.encoding, patience=self.options.patience)
        return self._open.enter_context(probe)

    def keep(self, stream: _Stream) -> _Stream:
        """Close a connection at the end of the check."""
        self._open.enter_context(stream)
        return stream

    def fields(self, environment: str = "", **fields: Any) -> dict[str, Any]:
        """Return the fields of a make message; the default environment is that of the options."""
        token = {} if self.options.token is None else {"token": self.options.token}
        return {"id": environment or self.options.environment, **token, **fields}

    def session(self, environment: str = "", *, encoding: str = "", **fields: Any) -> Probe:
        """Connect and make an environment.

        Args:
            environment: Its id; empty for the one in the options.
            encoding: The framing, if it differs from that of the check.
            **fields: Further fields of the make message.
        """
        probe = self.connect(encoding)
        probe.say("make", **self.fields(environment, **fields))
        probe.read_made(fields.get("values", "nested"))
        return probe

    def optional(self, what: str, **fields: Any) -> Probe:
        """Connect and make an environment that is optional for servers; skip the check if the server refuses."""
        try:
            return self.session(**fields)
        except Failed as error:
            if error.fault in ("request", "environment"):
                pytest.skip(f"the server has no {what}: {error.message}")
            raise

    def vector(self, **fields: Any) -> Probe:
        """Connect and make a vector environment; skip the check if the server has none."""
        if not self.options.num_envs:
            pytest.skip("no vector environments to check: --num-envs 0")
        return self.optional("vector environments of this kind", num_envs=self.options.num_envs, **fields)

    def continuous(self) -> Probe:
        """Connect and make the environment with continuous actions; skip the check if there is none."""
        if not self.options.continuous:
            pytest.skip("no environment with continuous actions: --continuous ''")
        return self.session(self.options.continuous)

    def mirror(self, **fields: Any) -> Probe:
        """Connect and make the environment that returns the actions it gets; skip the check if there is none."""
        if not self.options.mirror:
            pytest.skip("no environment that returns what it is given is known: --mirror ID")
        return self.session(self.options.mirror, **fields)


# Episodes that two sessions play, one of them disturbed


#: The seed of the episodes.
SEED = 42
#: The number of steps after which an episode counts as endless.
ENDLESS = 10_000


def actions_of(probe: Probe, count: int) -> list[Any]:
    """Choose different actions: those of a Discrete in turn, others sampled by the server."""
    space = probe.made["action_space"]
    if space["kind"] != "Discrete":
        return [probe.sample(**({} if index else {"seed": SEED})) for index in range(count)]
    first, size = space.get("start", 0), space["n"]
    return [first + index // 2 % size for index in range(count)]


def play(probe: Probe, actions: Iterable[Any]) -> list[Any]:
    """Begin an episode and take steps; return the first observation and the steps."""
    return [probe.reset(seed=SEED)[0], *probe.steps(actions)]


def reference(subject: Subject, count: int, environment: str = "") -> tuple[list[Any], list[Any]]:
    """Play an episode in a session of its own; return the actions, and what :func:`play` returns."""
    with subject.session(environment) as probe:
        actions = actions_of(probe, count)
        played = play(probe, actions)
        return actions[: len(played) - 1], played


def play_to_end(probe: Probe) -> Stepped:
    """Take steps until an episode ends, also that of one environment of several; return the last step."""
    actions = [batch(probe, index) for index in range(16)] if probe.num_envs else actions_of(probe, 16)
    for index in range(ENDLESS):
        step = probe.step(actions[index % 16])
        if np.any(step.terminated) or np.any(step.truncated):
            return step
    raise Violation(f"no episode has ended after {ENDLESS} steps")


def batch(probe: Probe, index: int) -> Any:
    """Choose the actions of all environments of a vector: those of a Discrete in turn, others sampled by the server."""
    single = probe.made["single_action_space"]
    if probe.made["action_space"]["kind"] != "MultiDiscrete" or single["kind"] != "Discrete":
        return probe.sample()
    return np.full(probe.num_envs or 0, single.get("start", 0) + index // 2 % single["n"])


def undisturbed(subject: Subject, requests: list[tuple[bytes, str, str, str]]) -> None:
    """Send wrong requests during an episode, which must continue as if they had not been sent.

    Args:
        subject: The server.
        requests: The frame of each, what it is, the code of the error, and a word that its message must contain.
    """
    actions, expected = reference(subject, len(requests))
    if len(actions) < len(requests):
        undisturbed(subject, requests[len(actions) :])
    probe = subject.session()
    expect_same(probe.reset(seed=SEED)[0], expected[0], "the first observation")
    for action, step, (data, what, code, word) in zip(actions, expected[1:], requests, strict=False):
        probe.send(data)
        error = probe.expect_error(what, code)
        require(word in error.message, f"the error of {what} does not name {word!r}: {error.message!r}")
        expect_same(probe.step(action), step, f"a step after {what}")


def expect_same(found: Any, expected: Any, what: str) -> None:
    """Raise a violation unless two values are equal to the last bit; the infos of steps are not compared."""
    if isinstance(found, list) and isinstance(expected, list):
        require(len(found) == len(expected), f"{what}: {len(found)} of them, expected {len(expected)}")
        for index, pair in enumerate(zip(found, expected, strict=True)):
            expect_same(*pair, f"{what}, number {index + 1}")
    elif isinstance(found, Stepped) and isinstance(expected, Stepped):
        for name in ("observation", "reward", "terminated", "truncated"):
            expect_same(getattr(found, name), getattr(expected, name), f"{what}, {name}")
    else:
        require(is_same(found, expected), f"{what}: {found!s:.120}, expected {expected!s:.120}")


def is_same(first: Any, second: Any) -> bool:
    """Return whether two values are equal to the last bit, with NaN equal to itself."""
    if isinstance(first, (tuple, list)):
        pairs = zip(first, second, strict=False)
        return type(first) is type(second) and len(first) == len(second) and all(is_same(*pair) for pair in pairs)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(is_same(first[key], second[key]) for key in first)
    if isinstance(first, (np.ndarray, np.generic)) and isinstance(second, (np.ndarray, np.generic)):
        return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
    return bool(first == second or (first != first and second != second))

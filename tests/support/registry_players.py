"""What is played over each of the three protocols, side by side with what is played in this process."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec
import numpy as np

from gymtwist.spaces.descriptions import Description
from gymtwist.spaces.gymnasium_spaces import build
from gymtwist_conformance.reference_client import NETSTRING, ClassicClient, FramedClient, flatten, message
from gymtwist_conformance.reference_client.classic_client import RESET, Step, handshake, step
from tests.support.equivalence import same

#: The parts of a value that are arrays or numbers, by where they are in it.
Leaves: TypeAlias = "dict[tuple[str | int, ...], np.ndarray[Any, Any]]"

#: The classic protocol clips the bounds of a Box to this.
CLASSIC_BOUND = 1e30


class Moment(NamedTuple):
    """A reset or a step, and what came of it in this process.

    Attributes:
        action: What was played; None for a reset.
        seed: What a reset was given.
    """

    observation: Leaves
    action: Any = None
    seed: int | None = None
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated


class Side(Protocol):
    """A connection over which the same is played: it has asked for the environment."""

    name: str

    def start(self) -> None:
        """Read what came of that; raise `Refused` or `Failed` if the environment cannot be had."""

    def ask(self, moment: Moment) -> None:
        """Ask for what was done in this process."""

    def check(self, moment: Moment) -> None:
        """Read the reply; fails if it is not what came of it in this process."""

    def check_spaces(self, actions: Any, observations: Any) -> None:
        """Fail if the spaces that are told are not those of this process."""


class Framed:
    """A connection of the framed protocol, in one of its encodings.

    Args:
        client: Connected.
        environment: What to make.
        form: How values travel in JSON.
    """

    def __init__(self, client: FramedClient, environment: str, form: str) -> None:
        """Ask for the environment."""
        self.name = f"{client.encoding} ({form})" if client.encoding == NETSTRING else client.encoding
        self._client = client
        self._form = form
        self._client.say("make", id=environment, values=form)

    def start(self) -> None:
        """Read what came of that; raise `Failed` if the environment cannot be had."""
        self._client.read_made(self._form)

    def ask(self, moment: Moment) -> None:
        """Ask for what was done in this process."""
        encoding = self._client.encoding
        if moment.action is None:
            seed = {} if moment.seed is None else {"seed": moment.seed}
            self._client.send(message(encoding, "reset", **seed))
        else:
            self._client.send(message(encoding, "step", action=self._client.actions.dump(moment.action)))

    def check(self, moment: Moment) -> None:
        """Read the reply; fails if it is not what came of it in this process."""
        if moment.action is None:
            _check_observation(flatten(self._client.read_reset()[0]), moment)
            return
        served = self._client.read_step()
        _check_observation(flatten(served.observation), moment)
        _check_reward(served.reward, moment)
        _check_end((served.terminated, served.truncated), (moment.terminated, moment.truncated))

    def verify_seed(self, seed: int) -> None:
        """Fail if two episodes with a seed begin differently."""
        assert self._client.ask("reset", seed=seed, verify_seed=True).get("seeded") is True

    def check_spaces(self, actions: Any, observations: Any) -> None:
        """Fail if the spaces that are told, made anew, are not those of this process."""
        made = self._client.made
        for told, local in ((made["action_space"], actions), (made["observation_space"], observations)):
            rebuilt = build(msgspec.convert(told, Description))
            assert same_space(rebuilt, local), f"{rebuilt} is not {local}"
            # Gymnasium itself must agree; Gym's spaces are equal to none of Gymnasium's.
            assert rebuilt == local or type(local).__module__.startswith("gym."), f"{rebuilt} != {local}"


class Classic:
    """A connection of the classic protocol.

    Args:
        client: Connected.
        environment: What to open.
    """

    name = "classic"

    def __init__(self, client: ClassicClient, environment: str) -> None:
        """Ask for the environment."""
        self._client = client
        self._client.send(handshake(environment))

    def start(self) -> None:
        """Read what came of that; raise `Refused` if the environment cannot be had."""
        self._client.read_error()

    def ask(self, moment: Moment) -> None:
        """Ask for what was done in this process; the seed is the server's own."""
        self._client.send(RESET if moment.action is None else step(np.asarray(moment.action).tolist()))

    def check(self, moment: Moment) -> None:
        """Read the reply; fails if it is not what came of it in this process."""
        if moment.action is None:
            self._check_observation(self._client.read_observation(), moment)
            return
        served: Step = self._client.read_step()
        self._check_observation(served.observation, moment)
        _check_reward(served.reward, moment)
        _check_end(served.done, moment.has_ended)

    @staticmethod
    def _check_observation(served: Any, moment: Moment) -> None:
        """A picture comes as it is, anything else as JSON, which has no dtypes."""
        picture = moment.observation.get(())
        if picture is not None and picture.dtype == np.uint8 and picture.shape:
            _check_observation(served, moment)
            return
        read = {path: np.array(_at(served, path), local.dtype) for path, local in moment.observation.items()}
        _check_observation(read, moment)

    def check_spaces(self, actions: Any, observations: Any) -> None:
        """Fail unless the reported spaces are those of this process, in the form of the protocol's page."""
        for which, local in enumerate((actions, observations)):
            told, due = self._client.space(which), classic_space(local)
            assert told == due, f"{json.dumps(told)[:500]} is not {json.dumps(due)[:500]}"


def leaves(space: Any, value: Any) -> Leaves:
    """Return copies of the arrays and numbers of which a value of a space is made."""
    if type(space).__name__ == "Tuple":
        parts = [(index, leaves(*pair)) for index, pair in enumerate(zip(space.spaces, value, strict=True))]
        return {(index, *path): leaf for index, part in parts for path, leaf in part.items()}
    if type(space).__name__ == "Dict":
        return {
            (key, *path): leaf for key, each in space.spaces.items() for path, leaf in leaves(each, value[key]).items()
        }
    # Python's own numbers have no dtype: they get the space's.
    return {(): np.array(value, None if hasattr(value, "dtype") else space.dtype)}


def same_space(one: Any, other: Any) -> bool:
    """Compare one of Gymnasium's spaces to one of Gymnasium's or Gym's, and the bounds to their last bit."""
    kind = type(one).__name__
    if kind != type(other).__name__ or one.shape != other.shape or one.dtype != other.dtype:
        return False
    if kind == "Tuple":
        return len(one.spaces) == len(other.spaces) and all(map(same_space, one.spaces, other.spaces))
    if kind == "Dict":
        return list(one.spaces) == list(other.spaces) and all(
            same_space(each, other.spaces[key]) for key, each in one.spaces.items()
        )
    names = {"Box": ("low", "high"), "Discrete": ("n", "start"), "MultiDiscrete": ("nvec",), "MultiBinary": ("n",)}
    return all(same(np.asarray(getattr(one, name)), getattr(other, name)) for name in names[kind])


def classic_space(space: Any) -> dict[str, Any]:
    """Return what the page of the classic protocol has a server tell of a space."""
    kind = type(space).__name__
    if kind == "Box":
        low, high = (
            np.clip(np.asarray(bound, np.float64), -CLASSIC_BOUND, CLASSIC_BOUND).ravel().tolist()
            for bound in (space.low, space.high)
        )
        return {"type": kind, "shape": list(space.shape), "low": low, "high": high, "dtype": space.dtype.name}
    if kind == "Discrete":
        return {"type": kind, "n": int(space.n), "start": int(space.start)}
    if kind == "MultiDiscrete":
        first = np.asarray(getattr(space, "start", np.zeros_like(space.nvec)))
        last = (first + space.nvec - 1).ravel()
        return {"type": kind, "low": first.ravel().tolist(), "high": last.tolist(), "shape": list(space.shape)}
    if kind == "Tuple":
        return {"type": kind, "subspaces": [classic_space(each) for each in space.spaces]}
    raise AssertionError(f"no registered environment had a {kind} when this was written: see the page, and add it")


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _check_observation(served: Any, moment: Moment) -> None:
    parts: Leaves = served if isinstance(served, dict) else {(): served}
    assert parts.keys() == moment.observation.keys(), f"observation: {list(parts)} is not {list(moment.observation)}"
    for path, local in moment.observation.items():
        assert same(parts[path], local), f"observation{list(path)}: {parts[path]!r} is not {local!r}"


def _check_reward(served: float, moment: Moment) -> None:
    assert same(np.float64(served), np.float64(moment.reward)), f"reward: {served!r} is not {moment.reward!r}"


def _check_end(served: Any, local: Any) -> None:
    assert served == local, f"end of the episode: {served} is not {local}"

"""Plays the environments of one package, in this process and through a server over every protocol.

It runs in the virtual environment of the package, with JSON in and out:
``python -m tools.packages.equivalence_check RESULT < PACKAGE``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import importlib
import json
import multiprocessing
import os
import random
import runpy
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import gymnasium
import msgspec
import numpy as np

from gymtwist.client import connect, connect_vec
from tests.support.server_process import ServerProcess
from tools.packages.differences import Difference, compare_info, compare_observation, compare_reward, copied
from tools.packages.listed import Package
from tools.packages.local import is_vector, make_local, registered
from tools.packages.snapshot_check import what_follows

SEED = 1234
#: The most steps of an environment, and the most seconds that they may take in this process.
STEPS, STEP_SECONDS = 60, 8.0
#: The steps that are taken however long they take.
FEWEST_STEPS = 5
#: The most seconds for one id, over all protocols.
ID_SECONDS = 300
NUM_ENVS = 3
CLASSIC, FRAMED = "classic", ("netstring", "int32")


@dataclasses.dataclass
class Moment:
    """A reset or a step in this process, and what came of it."""

    action: Any
    seed: int | None
    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    info: dict[str, Any]

    @property
    def has_ended(self) -> bool:
        """Whether a single environment's episode is over."""
        return bool(np.any(self.terminated) or np.any(self.truncated))


def play_here(environment: Any) -> list[Moment]:
    """Play several episodes of an environment until the time is up; only the first reset is seeded.

    Args:
        environment: The environment.
    """
    environment.action_space.seed(SEED)
    end = time.monotonic() + STEP_SECONDS
    moments = [_reset(environment, SEED)]
    vector = is_vector(environment)
    while len(moments) < STEPS and (time.monotonic() < end or len(moments) <= FEWEST_STEPS):
        if moments[-1].has_ended and not vector:
            moments.append(_reset(environment, None))
        moments.append(_step(environment, environment.action_space.sample()))
    return moments


def play_again(environment: Any, moments: list[Moment]) -> Iterator[Moment]:
    """Play an environment with the seeds and actions of moments."""
    for each in moments:
        yield _reset(environment, each.seed) if each.action is None else _step(environment, each.action)


def _reset(environment: Any, seed: int | None) -> Moment:
    observation, info = environment.reset(seed=seed)
    return Moment(None, seed, copied(observation), 0.0, False, False, copied(info))


def _step(environment: Any, action: Any) -> Moment:
    return Moment(action, None, *map(copied, environment.step(action)))


class Expired(BaseException):
    """An id took too long; no environment's code catches this."""


class FramedSide:
    """The framed protocol, in one of its encodings."""

    def __init__(self, port: int, environment: str, protocol: Any, vector: bool) -> None:
        if vector:
            self.remote: Any = connect_vec(port, environment, NUM_ENVS, protocol=protocol, shared_memory=False)
        else:
            self.remote = connect(port, environment, protocol=protocol, shared_memory=False)

    def play(self, moment: Moment) -> tuple[Any, ...]:
        """Play a moment; return the five results, those of a reset filled up."""
        if moment.action is None:
            observation, info = self.remote.reset(seed=moment.seed)
            return observation, 0.0, False, False, info
        return tuple(self.remote.step(moment.action))

    def close(self) -> None:
        """Leave."""
        self.remote.close()


class ClassicSide:
    """The classic protocol: its server has the seed, and its results are JSON."""

    def __init__(self, server: ServerProcess, environment: str) -> None:
        self._server = server
        self._client = server.open(environment)

    def play(self, moment: Moment) -> tuple[Any, ...]:
        """Play a moment; return the results, None where the protocol has none."""
        try:
            return self._play(moment)
        except EOFError as error:
            # The protocol has no place for the reason, but the log has it.
            raise RuntimeError(self._server.end(self._server.session(self._client)).partition(";")[0]) from error

    def _play(self, moment: Moment) -> tuple[Any, ...]:
        if moment.action is None:
            return self._client.reset(), 0.0, False, None, None
        step = self._client.step(_json(moment.action))
        return step.observation, step.reward, step.done, None, step.info

    def close(self) -> None:
        """Leave."""
        self._client.close()


def _json(action: Any) -> Any:
    if isinstance(action, dict):
        return {key: _json(each) for key, each in action.items()}
    if isinstance(action, (tuple, list)):
        return [_json(each) for each in action]
    return action.tolist() if hasattr(action, "tolist") else action


def differences(moment: Moment, served: tuple[Any, ...], space: Any) -> Iterator[Difference]:
    """Compare what was served to what came of it here."""
    observation, reward, terminated, truncated, info = served
    is_classic = truncated is None
    yield from compare_observation(space, observation, moment.observation, is_json=is_classic)
    yield from compare_reward(reward, moment.reward)
    due = moment.has_ended if is_classic else (moment.terminated, moment.truncated)
    found = terminated if is_classic else (terminated, truncated)
    if not np.array_equal(np.asarray(due, bool), np.asarray(found, bool)):
        yield Difference("end", f"the end of the episode is {found!r}, not {due!r}")
    if info is not None:
        yield from compare_info(info, moment.info, is_json=is_classic)


class Steadiness(NamedTuple):
    """What is the same when an environment is played twice here, with the same seed and actions.

    Attributes:
        moments: How many resets and steps have the same observations, rewards and ends.
        infos: The keys of infos that are not the same, as places.
    """

    moments: int
    infos: frozenset[str]


def steadiness(moments: list[Moment], twins: Iterator[Moment], space: Any) -> Steadiness:
    """Compare two episodes of this process."""
    infos = set()
    for index, (moment, twin) in enumerate(zip(moments, twins, strict=True)):
        results = (twin.observation, twin.reward, twin.terminated, twin.truncated, twin.info)
        places = {each.place for each in differences(moment, results, space)}
        infos |= {each for each in places if each.startswith("info.")}
        if places & {"observation", "reward", "end"}:
            return Steadiness(index, frozenset(infos))
    return Steadiness(len(moments), frozenset(infos))


@contextlib.contextmanager
def seeded(environment: str, num_envs: int | None) -> Iterator[Any]:
    """Make an environment of this process; the global generators are seeded as by the server's ``--seed``."""
    random.seed(SEED)
    np.random.seed(SEED)
    with contextlib.closing(make_local(environment, num_envs)) as local:
        yield local


class Local(NamedTuple):
    """What came of an environment without a server.

    Attributes:
        moments: The resets and steps; none if they failed.
        steady: What is the same when they are played again.
        space: The observation space; None if they failed.
        error: Why they failed.
    """

    moments: list[Moment]
    steady: Steadiness
    space: Any
    error: str | None


def play_twice(environment: str, num_envs: int | None) -> Local:
    """Play an environment in this process, and again."""
    try:
        with seeded(environment, num_envs) as local:
            space = local.observation_space
            moments = play_here(local)
        with seeded(environment, num_envs) as local:
            return Local(moments, steadiness(moments, play_again(local, moments), space), space, None)
    except Exception as error:
        return _failed(_text(error))


def _failed(text: str) -> Local:
    return Local([], Steadiness(0, frozenset()), None, text)


def play_alone(environment: str, num_envs: int | None) -> Local:
    """Do the same in a process of its own, as the server does: some environments change what others have, too."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, environment, num_envs))
    process.start()
    sender.close()
    try:
        received: Local = receiver.recv()
        return received
    except EOFError:
        process.join()
        return _failed(f"the process ended with status {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _send(sender: Connection, environment: str, num_envs: int | None) -> None:
    sender.send(play_twice(environment, num_envs))


def compare(side: Any, moments: list[Moment], steady: Steadiness, space: Any) -> list[str]:
    """Play moments over a side; return at most five differences of different places."""
    found: dict[str, str] = {}
    for index, moment in enumerate(moments):
        served = side.play(moment)
        # What differs in this process can only be played, until it ends at another time.
        ends = False
        for each in differences(moment, served, space):
            ends |= each.place == "end"
            if index < steady.moments and each.place not in steady.infos:
                found.setdefault(each.place, f"{'step' if index else 'reset'} {index}: {each.text}"[:300])
        if ends:
            break
    return list(found.values())[:5]


class Player:
    """Plays ids against a server.

    Args:
        server: The server.
        forks: Whether the environments of this process are played in a fork of it.
    """

    def __init__(self, server: ServerProcess, forks: bool) -> None:
        self._server = server
        self._forks = forks

    def play(self, environment: str, *, vector: bool = False) -> dict[str, Any]:
        """Play an id over all protocols; return what is told of it."""
        told: dict[str, Any] = {"id": environment, "vector": vector, "steps": 0, "here": None, "steady": True}
        told["sides"] = {}
        play = play_alone if self._forks else play_twice
        moments, steady, space, told["here"] = play(environment, NUM_ENVS if vector else None)
        told["steps"] = max(0, len(moments) - 1)
        told["steady"] = steady.moments == len(moments)
        told["steady_moments"] = steady.moments
        told["unsteady_infos"] = sorted(steady.infos)
        sides: list[tuple[str, Callable[[], Any]]] = (
            [] if vector else [(CLASSIC, lambda: ClassicSide(self._server, environment))]
        )
        sides += [(name, _framed(self._server.port, environment, name, vector)) for name in FRAMED]
        for name, start in sides:
            told["sides"][name] = self._play_side(start, moments, steady, space)
        if not vector and told["here"] is None:
            told["snapshot"] = what_follows(self._server.port, environment, SEED)
        return told

    @staticmethod
    def _play_side(start: Callable[[], Any], moments: list[Moment], steady: Steadiness, space: Any) -> dict[str, Any]:
        try:
            with contextlib.closing(start()) as side:
                if not moments:
                    side.play(Moment(None, SEED, None, 0.0, False, False, {}))
                return {"error": None, "differences": compare(side, moments, steady, space)}
        except Exception as error:
            return {"error": _text(error), "differences": []}


def _framed(port: int, environment: str, name: str, vector: bool) -> Callable[[], Any]:
    return lambda: FramedSide(port, environment, name, vector)


def _text(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:400]


def _chosen(patterns: tuple[str, ...], ids: list[str], most: int | None) -> list[str]:
    """Return the ids that match, or as many of them as are played, from the first to the last."""
    found = [each for each in ids if any(fnmatch.fnmatchcase(each, pattern) for pattern in patterns)]
    if most is None or len(found) <= most:
        return found
    return [found[index * (len(found) - 1) // max(1, most - 1)] for index in range(most)]


def _expire(number: int, frame: FrameType | None) -> None:
    raise Expired(f"it took more than {ID_SECONDS} s")


def run(package: Package, directory: Path, most: int) -> Iterator[dict[str, Any]]:
    """Play the chosen ids of a package; yield what is told of each."""
    setup = None
    if package.setup:
        setup = directory / "setup.py"
        setup.write_text(package.setup)
    for module in package.preload:
        importlib.import_module(module)
    if setup is not None:
        runpy.run_path(str(setup))
    ids = registered()
    limit = None if package.every else most
    work = [(each, False) for each in _chosen(package.ids, ids, limit)]
    work += [(each, True) for each in _chosen(package.vector_ids, ids, limit)]
    options = ("--seed", str(SEED), *package.server_options)
    with ServerProcess(directory, *options, setup=setup, changes={"PYTHONHASHSEED": "0"}) as server:
        player = Player(server, forks=not package.spawns)
        for environment, vector in work:
            signal.alarm(ID_SECONDS)
            try:
                yield player.play(environment, vector=vector)
            except Expired as error:
                yield {
                    "id": environment,
                    "vector": vector,
                    "steps": 0,
                    "here": _text(error),
                    "steady": True,
                    "sides": {},
                }
            finally:
                signal.alarm(0)


def main() -> None:
    """Play the package on standard input, and write the result after each id."""
    signal.signal(signal.SIGALRM, _expire)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    wanted: dict[str, Any] = json.load(sys.stdin)
    result = Path(sys.argv[1])
    package = msgspec.convert(wanted["package"], Package)
    told: dict[str, Any] = {"ids": [], "error": None}
    told["versions"] = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
    }
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as directory:
        warnings.simplefilter("ignore")
        os.chdir(directory)  # some leave files where they are
        try:
            for each in run(package, Path(directory), wanted["most"]):
                told["ids"].append(each)
                result.write_text(json.dumps(told, indent=1))
        except Exception as error:
            told["error"] = _text(error)
    result.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()

"""Every environment that can be had plays over each of the three protocols what it plays in this process.

``make registry`` plays everything that Gymnasium, Gym and ale-py register. Without the marker ``sweep`` only the newest
version of each of Gymnasium's environments, or of some that MuJoCo plays, some of Gym's and some Atari games are
played. The end of the run lists the skipped environments with the reasons; an unknown reason is a failure.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gymtwist_conformance.reference_client import ENCODINGS, Failed, FramedClient, Refused
from tests.support.registry_cases import ALE, Registered, reason, registered
from tests.support.registry_players import Classic, Framed, Moment, Side, leaves
from tests.support.server_process import ServerProcess, connected

SEED, OTHER_SEED = 1234, 4321
STEPS = 200
#: Steps of another episode, which only those play who can seed a reset.
STEPS_OF_OTHER_SEED = 20
#: Requests that are under way at once: so the three sides play at the same time.
AHEAD = 16
#: The game whose pictures come as nested lists, too: this takes half a minute, and is for `make registry` alone.
NESTED_GAME = "pong"

OPTIONS = ("--seed", str(SEED))
ENVIRONMENTS = [
    pytest.param(each, id=each.name, marks=[] if each.is_chosen else [pytest.mark.sweep]) for each in registered()
]


Connect = Callable[[Registered], tuple[Side, list[Framed]]]


class Tally:
    """Counts what was played, and tells at the end of the run what was not."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.played: Counter[str] = Counter()
        self.skipped: defaultdict[str, list[str]] = defaultdict(list)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Is called by pytest when all tests have ended."""
        terminalreporter.section("registered environments over three protocols")
        by_library = ", ".join(f"{library} {count}" for library, count in sorted(self.played.items()))
        terminalreporter.line(f"{self.played.total()} played {STEPS} steps each: {by_library}")
        for why, names in sorted(self.skipped.items()):
            terminalreporter.line(f"{len(names)} skipped: {why}: {' '.join(sorted(names))}")


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Tally:
    """The count of this module's environments."""
    tally = Tally()
    request.config.pluginmanager.register(tally)
    return tally


def play(local: Any) -> list[Moment]:
    """Play an environment in this process, over the ends of episodes; only the first reset is seeded."""
    local.action_space.seed(SEED)
    moments = [_reset(local, SEED)]
    for _ in range(STEPS):
        if moments[-1].has_ended:
            moments.append(_reset(local))
        moments.append(_step(local))
    return moments


def play_another(local: Any) -> list[Moment]:
    """Play on, from a reset with another seed to the end of that episode at most."""
    moments = [_reset(local, OTHER_SEED)]
    while len(moments) <= STEPS_OF_OTHER_SEED and not moments[-1].has_ended:
        moments.append(_step(local))
    return moments


def _reset(local: Any, seed: int | None = None) -> Moment:
    observation, _ = local.reset(seed=seed)
    return Moment(leaves(local.observation_space, observation), seed=seed)


def _step(local: Any) -> Moment:
    action = local.action_space.sample()
    observation, reward, terminated, truncated, _ = local.step(action)
    return Moment(
        leaves(local.observation_space, observation),
        action,
        reward=float(reward),
        terminated=bool(terminated),
        truncated=bool(truncated),
    )


def compare(sides: list[Side], moments: list[Moment]) -> None:
    """Play the same over all sides, in step with one another, and some requests ahead of the replies."""
    for index in range(-AHEAD, len(moments)):
        for side in sides:
            if index + AHEAD < len(moments):
                side.ask(moments[index + AHEAD])
        for side in sides:
            if index >= 0:
                try:
                    side.check(moments[index])
                except AssertionError as error:
                    raise AssertionError(f"{side.name}, reply {index}: {error}") from error


@pytest.fixture(scope="module")
def unseeded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for those who can seed a reset: that they have is what makes their episodes the same."""
    with ServerProcess(tmp_path_factory.mktemp("unseeded")) as running:
        yield running


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[ExitStack]:
    """What is to be closed at the end of a test, which runs where MuJoCo may leave its log."""
    before = os.getcwd()
    with ExitStack() as stack:
        stack.callback(os.chdir, before)
        os.chdir(tmp_path)
        yield stack


@pytest.fixture
def connect(module_server: ServerProcess, unseeded_server: ServerProcess, stack: ExitStack) -> Connect:
    """Ask for an environment over the classic protocol, and over the framed one in both encodings."""

    def connect(environment: Registered) -> tuple[Side, list[Framed]]:
        form = "base64" if environment.library == ALE and environment.spec.kwargs["game"] != NESTED_GAME else "nested"
        address = ("127.0.0.1", unseeded_server.port)
        clients = [stack.enter_context(FramedClient(connected(address), encoding)) for encoding in ENCODINGS]
        classic = Classic(stack.enter_context(module_server.connect()), environment.name)
        return classic, [Framed(each, environment.name, form) for each in clients]

    return connect


def check_refused(sides: list[Side]) -> None:
    """What cannot be made in this process cannot be made over any of the protocols, and it is not their fault."""
    for side in sides:
        with pytest.raises((Refused, Failed)) as refusal:
            side.start()
        if isinstance(refusal.value, Failed):
            assert refusal.value.fault == "environment"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_same_steps(environment: Registered, connect: Connect, tally: Tally, stack: ExitStack) -> None:
    """Observations, rewards, ends of episodes and spaces, exactly."""

    def skip(error: Exception) -> NoReturn:
        why = reason(error)
        if why is None:
            raise error
        tally.skipped[why].append(environment.name)
        pytest.skip(why)

    # They are made while it is played here.
    classic, framed = connect(environment)
    sides = [classic, *framed]
    try:
        local = environment.make()
    except Exception as error:
        check_refused(sides)
        skip(error)
    stack.callback(local.close)
    try:
        # Not the Atari games, which take longer to be seeded than to play.
        moments, another = play(local), [] if environment.library == ALE else play_another(local)
    except Exception as error:
        skip(error)
    for side in sides:
        side.start()
        side.check_spaces(local.action_space, local.observation_space)
    compare(sides, moments)
    compare([*framed], another)
    for each in framed if another and environment.repeats else []:
        each.verify_seed(SEED)
    tally.played[environment.library] += 1

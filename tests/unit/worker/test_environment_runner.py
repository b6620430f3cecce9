"""A session's environment while it runs: what it does, what it shows, what becomes of its faults."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gymtwist.envs import environment_plan, registry
from gymtwist.envs.observation_checks import mismatch
from gymtwist.errors import EnvironmentFault, MonitorError
from gymtwist.spaces.value_mismatch import ValueMismatch
from gymtwist.worker.environment_runner import EnvironmentRunner
from gymtwist.worker.guarded_call import fault_of_value
from gymtwist.worker.session_status import Operation, SessionStatus, create
from gymtwist.worker.worker_settings import WorkerSettings
from tests.support.faulty_environments import Constructing, Doing, Resetting
from tests.support.plain_environment import Plain
from tests.support.recordings import statistics

Run = Callable[..., EnvironmentRunner]
_numbers = itertools.count()


class Returning(Plain):
    """Returns from step what it was told to."""

    def __init__(self, result: Any, render_mode: str | None = None) -> None:
        """Take the result."""
        super().__init__(render_mode)
        self.result = result

    def step(self, action: Any) -> Any:
        """Return it."""
        return self.result


class Looking(Plain):
    """Records the session status whenever it is called."""

    def __init__(self, status: SessionStatus, seen: list[Operation], render_mode: str | None = None) -> None:
        """Is being made."""
        super().__init__(render_mode)
        self.status, self.seen = status, seen
        self.look()

    def look(self) -> None:
        """Note what is going on."""
        assert self.status.busy_since is not None
        self.seen.append(self.status.operation)

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Look."""
        self.look()
        return super().reset(**arguments)

    def act(self, action: Any) -> dict[str, Any]:
        """Look."""
        self.look()
        return {}

    def close(self) -> None:
        """Look."""
        self.look()


@pytest.fixture
def status() -> Iterator[SessionStatus]:
    """The status of a session."""
    descriptor = create()
    made = SessionStatus(descriptor)
    os.close(descriptor)
    yield made
    made.close()


@pytest.fixture
def run(status: SessionStatus, tmp_path: Path) -> Run:
    """Run an environment, given by its id or as what makes it."""

    def run(environment: Any, **options: Any) -> EnvironmentRunner:
        if not isinstance(environment, str):
            name = f"Running{next(_numbers)}-v0"
            gymnasium.register(name, entry_point=environment, order_enforce=False)
            environment = name
        plan = environment_plan.plan(registry.find(environment))
        return EnvironmentRunner(plan, WorkerSettings(monitor_root=str(tmp_path), **options), status)

    return run


def fail() -> None:
    """Raise."""
    raise ValueError("the pole is not there")


def leave() -> None:
    """Try to end the process."""
    raise SystemExit(3)


def interrupt() -> None:
    """Raise what Ctrl-C does."""
    raise KeyboardInterrupt


def test_an_environment_that_cannot_be_served_is_closed(run: Run) -> None:
    """A client may ask for it any number of times."""
    closed: list[str] = []

    class Spaceless(gymnasium.Env[Any, Any]):
        action_space = spaces.Discrete(2)

        def close(self) -> None:
            closed.append("closed")

    with pytest.raises(EnvironmentFault, match="no observation_space"):
        run(Spaceless)
    assert closed == ["closed"]


def test_without_a_seed_no_two_sessions_are_alike(run: Run) -> None:
    """Nor with one the two episodes of a session."""
    assert not np.array_equal(run("CartPole-v1").reset()[0], run("CartPole-v1").reset()[0])
    seeded = run("CartPole-v1", seed=1)
    assert not np.array_equal(seeded.reset()[0], seeded.reset()[0])


def test_the_session_status_counts(run: Run, status: SessionStatus) -> None:
    """Steps and episodes."""
    runner = run(partial(Returning, (0, 2.5, False, False, {})))
    runner.reset()
    for _ in range(3):
        runner.step(0)
    assert (status.steps, status.episodes) == (3, 0)
    environment: Any = runner.environment.unwrapped
    environment.result = (0, 1, False, True, {})
    runner.step(0)
    assert (status.steps, status.episodes) == (4, 1)


def test_the_session_status_shows_the_current_operation(run: Run, status: SessionStatus) -> None:
    """While the environment is made, reset, stepped and closed; then it is the client's turn."""
    seen: list[Operation] = []
    runner = run(partial(Looking, status, seen))
    for call in (runner.reset, partial(runner.step, 0), runner.close):
        assert status.busy_since is None
        assert status.last_activity > 0
        call()
    assert seen == [Operation.MAKE, Operation.RESET, Operation.STEP, Operation.CLOSE]
    assert status.busy_since is None


RAISED = [(fail, "ValueError"), (leave, "SystemExit"), (interrupt, "KeyboardInterrupt")]


@pytest.mark.parametrize(("deed", "name"), RAISED)
@pytest.mark.parametrize(
    ("kind", "operation"),
    [(Constructing, "make"), (Resetting, "reset"), (Doing, "step")],
    ids=["make", "reset", "step"],
)
def test_what_an_environment_raises_is_its_fault(
    run: Run, capsys: pytest.CaptureFixture[str], kind: Any, operation: str, deed: Any, name: str
) -> None:
    """Whatever it is and wherever; the message says both, the traceback goes to the log."""
    with pytest.raises(EnvironmentFault, match=f"the environment raised {name} in {operation}") as caught:
        run(partial(kind, deed)).step(0) if operation == "step" else run(partial(kind, deed)).reset()
    assert caught.value.operation == operation
    logged = capsys.readouterr().err
    assert f"in {deed.__name__}" in logged
    assert name in logged


@pytest.mark.parametrize(
    ("result", "what"),
    [
        (None, "null from step; Gymnasium expects 5 values: observation, reward, terminated, truncated and info"),
        ((0, 1.0), "2 values from step; Gymnasium expects 5 values"),
        ((0, 1.0, False, {}), "4 values from step; .* register such an environment with Gym"),
        ((0, None, False, False, {}), "null as the reward from step; Gymnasium expects a number"),
        ((0, "much", False, False, {}), '"much" as the reward from step'),
        ((0, [1, 2], False, False, {}), r"\[1, 2\] as the reward from step"),
        ((0, np.zeros(2), False, False, {}), r"an array of shape \[2\] as the reward from step"),
        (
            (0, (1.0,), (False, True), False, {}),
            r"\[false, true\] for `terminated` from step; Gymnasium expects true or false",
        ),
        ((0, (1.0,), False, np.array([True, False]), {}), r"an array of shape \[2\] for `truncated` from step"),
        ((0, (1.0,), "no", False, {}), '"no" for `terminated` from step'),
        ((0, (1.0,), False, [False], {}), r"\[false\] for `truncated` from step"),
        ((0, (1.0,), False, {"done": False}, {}), r"\{.*done.*\} for `truncated` from step"),
    ],
)
@pytest.mark.parametrize("many", [False, True], ids=["step", "step_many"])
def test_what_a_step_must_return(
    run: Run, capsys: pytest.CaptureFixture[str], result: Any, what: str, many: bool
) -> None:
    """The fault says what it was, not what Python made of it; so does the log."""
    runner = run(partial(Returning, result))
    with pytest.raises(EnvironmentFault, match=f"^the environment returned {what}") as caught:
        runner.step_many([0], None) if many else runner.step(0)
    assert set(capsys.readouterr().err.splitlines()) == {str(caught.value)}


@pytest.mark.parametrize("result", [(0, 1.0), None])
def test_what_a_step_must_return_to_a_wrapper(run: Run, result: Any) -> None:
    """Gymnasium's wrappers unpack it before the session can: that is not an exception of the environment."""
    gymnasium.register("Limited-v0", entry_point=partial(Returning, result), order_enforce=False, max_episode_steps=9)
    with pytest.raises(
        EnvironmentFault, match=r"^the environment returned (2|other) values from step; Gymnasium expects 5"
    ):
        run("Limited-v0").step(0)


@pytest.mark.parametrize(
    ("result", "what"), [(np.zeros(2), r"an array of shape \[2\]"), (None, "null"), ((0, {}, {}), "3 values")]
)
def test_what_a_reset_must_return(run: Run, result: Any, what: str) -> None:
    """Two values; an array of two does not count as two values."""
    made = Plain()
    made.reset = lambda **arguments: result  # type: ignore[method-assign]
    with pytest.raises(
        EnvironmentFault, match=f"returned {what} from reset; Gymnasium expects 2 values: observation and"
    ):
        run(lambda: made).reset()


def test_what_gymnasium_raises(run: Run) -> None:
    """Is not said to be the environment's."""
    with pytest.raises(EnvironmentFault, match=r"^Gymnasium raised TypeError in make: .* inherit from"):
        run(lambda: object())


@pytest.mark.parametrize("reward", [np.array([1.0]), [1.0], np.ones((1, 1), np.float32)])
def test_a_reward_of_one_element(run: Run, reward: Any) -> None:
    """Is taken as the number that it has."""
    runner = run(partial(Returning, (0, reward, False, np.array([False]), {})))
    assert runner.step(0)[1:4] == (1.0, False, False)
    assert runner.step_many([0, 0], None)[1] == [1.0, 1.0]


@pytest.mark.parametrize("reward", [1, True, np.float32(1), np.array(1.0), np.int8(1)])
def test_a_reward_becomes_a_float(run: Run, reward: Any) -> None:
    """Whatever kind of number it is."""
    result = run(partial(Returning, (0, reward, False, False, {}))).step(0)
    assert type(result[1]) is float
    assert result[1] == 1.0


@pytest.mark.parametrize("flag", ["False", (False,), None])
def test_a_flag_that_is_none(run: Run, capsys: pytest.CaptureFixture[str], flag: Any) -> None:
    """It is logged at the first step: it counts as true or false, whatever was meant."""
    runner = run(partial(Returning, (0, 1.0, flag, False, {})))
    for _ in range(2):
        with contextlib.suppress(EnvironmentFault):
            runner.step(0)
    logged = capsys.readouterr().err
    assert logged.count("for `terminated` from step; Gymnasium expects true or false") == 1


def test_a_flag_that_is_none_is_logged_once_for_a_request(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Also if the first step is one of several."""
    runner = run(partial(Returning, (0, 1.0, None, False, {})))
    assert len(runner.step_many([0] * 5, None)[1]) == 5
    runner.step_many([0] * 5, None)
    assert capsys.readouterr().err.count("for `terminated` from step; Gymnasium expects true or false") == 1


@pytest.mark.parametrize("flag", [True, np.True_, np.array(True), np.array([True]), 1])
def test_flags_that_are_taken(run: Run, capsys: pytest.CaptureFixture[str], flag: Any) -> None:
    """Nothing is logged of them."""
    assert run(partial(Returning, (0, 1.0, flag, False, {}))).step(0)[2] is True
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("observation", "found"),
    [
        (np.zeros(2), "observation has the dtype float64 where its space has float32"),
        (np.array([0, 3], np.float32), "observation[1] is 3.0 where its space has -1.0 to 1.0"),
        (np.array([np.nan, 0], np.float32), "observation[0] is nan where its space has -1.0 to 1.0"),
        (np.zeros(2, np.float32), ""),
    ],
)
@pytest.mark.parametrize("wanted", [False, True])
def test_observations_that_are_checked(
    run: Run, capsys: pytest.CaptureFixture[str], wanted: bool, observation: Any, found: str
) -> None:
    """The first one that is not in its space is logged, if the operator wants it."""
    runner = run(partial(Returning, (observation, 1.0, False, False, {})), check_observations=wanted)
    runner.reset()
    for _ in range(3):
        assert runner.step(0)[0] is observation
    logged = f"the environment returned a value outside its space from step: {found}\n"
    assert capsys.readouterr().err == (logged if wanted and found else "")


def test_parts_of_observations_that_are_checked() -> None:
    """The place is named."""
    space = spaces.Dict({"a": spaces.Tuple([spaces.Discrete(3), spaces.Box(0, 9, (2, 2), np.int64)])})
    assert mismatch(space, {"a": (2, np.array([[0, 1], [2, 30]]))}) == (
        "observation.a[1][1][1] is 30 where its space has 0 to 9"
    )
    assert mismatch(space, {"a": (5, np.zeros((2, 2), np.int64))}).startswith("observation.a[0] is 5, which")
    assert mismatch(space, {"a": (0, np.zeros((2, 2), np.int64))}) == ""
    assert mismatch(space, None) == ""


def test_recording(run: Run, tmp_path: Path) -> None:
    """Counts the episodes from the next reset on."""
    runner = run("CartPole-v1", seed=1)
    runner.record("monitor", resume=False, force=False, video=False)
    runner.reset()
    while not any(runner.step(0)[2:4]):
        pass
    (written,) = statistics(tmp_path / "monitor")
    assert len(written["episode_lengths"]) == 1


def test_recording_where_it_may_not(run: Run) -> None:
    """Is refused, and the session goes on."""
    runner = run("CartPole-v1")
    with pytest.raises(MonitorError, match="is not under"):
        runner.record("/", resume=False, force=False, video=False)
    runner.reset()


def test_recording_twice(run: Run) -> None:
    """Is refused: one session has one monitor."""
    runner = run("CartPole-v1")
    runner.record("a", resume=False, force=False, video=False)
    with pytest.raises(MonitorError, match="is being recorded already; open another connection"):
        runner.record("b", resume=False, force=False, video=False)


@pytest.mark.parametrize(
    ("environment", "display", "reason"),
    [("CartPole-v1", False, "without --display"), (partial(Plain), True, "renders no RGB frames")],
)
def test_a_render_that_cannot_be(
    run: Run, capsys: pytest.CaptureFixture[str], environment: Any, display: bool, reason: str
) -> None:
    """Is ignored; the log says so, once."""
    runner = run(environment, display=display)
    for _ in range(3):
        runner.show()
    logged = capsys.readouterr().err
    assert logged.count("render is ignored from here on") == 1
    assert reason in logged


def test_a_render(run: Run, status: SessionStatus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows a frame of the environment in a window, which closes with it."""
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    runner = run(Plain, display=True)
    runner.reset()
    runner.show()
    assert np.array_equal(pygame.surfarray.array3d(pygame.display.get_surface()), np.full((64, 64, 3), 127))
    assert status.operation is Operation.RENDER
    runner.close()
    assert not pygame.display.get_init()


def test_an_environment_that_fails_to_close(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Is closed all the same; the log says what it raised."""
    made = Plain()
    made.close = fail  # type: ignore[method-assign]
    run(lambda: made).close()
    assert "ValueError: the pole is not there" in capsys.readouterr().err


def test_a_value_that_is_not_in_its_space() -> None:
    """The fault says where it came from and what was wrong with it."""
    fault = fault_of_value("step", ValueError("too deep"))
    assert fault.operation == "step"
    assert str(fault) == "the environment returned a value outside its space from step: ValueError: too deep"
    fault = fault_of_value("step", ValueMismatch("is too deep", ("observation", 1)))
    assert str(fault) == "the environment returned a value outside its space from step: observation[1] is too deep"

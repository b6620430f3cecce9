"""What a session's process shows when the server asks: frames, the times of steps, and the last episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gymnasium import spaces

from gymtwist.worker import live_frames
from gymtwist.worker.session_status import (
    ATTENTION,
    FRAME_SIZE,
    FRAME_WANTED,
    KEPT_EPISODES,
    FrameState,
    SessionStatus,
    create,
)
from tests.support.plain_environment import Plain
from tests.support.served_session import Serve, Served

MOST = 4000


class Pictures(Plain):
    """Observes images, ends after four steps, and cannot be rendered if it is to fail."""

    observation_space = spaces.Box(0, 255, (20, 10, 3), np.uint8)
    rendered = taken = 0

    def observe(self) -> Any:
        """Return a picture whose pixels differ."""
        return np.arange(600, dtype=np.uint8).reshape(20, 10, 3)

    def step(self, action: Any) -> Any:
        """End the episode now and then."""
        self.taken += 1
        return self.observe(), 0.5, self.taken % 4 == 0, False, {}

    def render(self) -> Any:
        """Return a grey picture, or fail."""
        Pictures.rendered += 1
        if self.render_mode == "rgb_array" and self.taken > 8:
            raise ValueError("no more film")
        return super().render()


class Numbers(Pictures):
    """Observes no image."""

    observation_space = spaces.Box(0, 255, (4,), np.uint8)

    def observe(self) -> Any:
        """Return numbers."""
        return np.zeros(4, np.uint8)


def frame_in(status: SessionStatus) -> npt.NDArray[np.uint8]:
    """Return the frame as the server takes it."""
    assert status.frame_state is FrameState.WRITTEN
    assert status.frame_shape is not None
    height, width, channels = status.frame_shape
    rows = np.frombuffer(status.frame, np.uint8, height * (1 + width * channels)).reshape(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, channels)


@pytest.fixture
def status() -> SessionStatus:
    """A session's status."""
    return SessionStatus(create(), with_recovery=True)


def test_nothing_is_rendered_that_nobody_wants(serve: Serve, started: list[Served]) -> None:
    """However many steps there are."""
    client = serve(Pictures, render_mode="rgb_array")
    before = Pictures.rendered
    client.play()
    assert Pictures.rendered == before
    assert started[0].status.frame_state is FrameState.NONE


def test_a_frame_is_rendered_after_the_next_step(serve: Serve, started: list[Served]) -> None:
    """Once, until the next is wanted."""
    client, status = serve(Pictures, render_mode="rgb_array"), started[0].status
    client.reset()
    for _ in range(2):
        status.ask_for_frame()
        client.step(0)
        assert np.array_equal(frame_in(status), np.full((64, 64, 3), 127))
        assert status.words[ATTENTION] == status.words[FRAME_WANTED] == 0.0
        rendered = Pictures.rendered
        client.step(0)
        assert Pictures.rendered == rendered
        client.reset()


def test_a_frame_is_written_after_a_reset_and_within_several_steps(serve: Serve, started: list[Served]) -> None:
    """Whatever the client does next."""
    client, status = serve(Pictures, render_mode="rgb_array"), started[0].status
    status.ask_for_frame()
    client.reset()
    assert frame_in(status).shape == (64, 64, 3)
    status.ask_for_frame()
    client.step_many(action=0, count=2)
    assert frame_in(status).shape == (64, 64, 3)


def test_an_image_among_the_observations_is_the_frame(serve: Serve, started: list[Served]) -> None:
    """If the environment renders none."""
    client, status = serve(Pictures), started[0].status
    client.reset()
    status.ask_for_frame()
    observation = client.step(0).observation
    assert np.array_equal(frame_in(status), np.asarray(observation).reshape(20, 10, 3))


def test_the_first_environment_of_several_is_shown(serve: Serve, started: list[Served]) -> None:
    """By what it observes, or renders."""
    for fields in ({}, {"render_mode": "rgb_array"}):
        client, status = serve(Pictures, num_envs=3, **fields), started[-1].status
        client.reset()
        status.ask_for_frame()
        client.step([0, 0, 0])
        assert frame_in(status).shape == ((64, 64, 3) if fields else (20, 10, 3))


def test_an_environment_without_images(serve: Serve, started: list[Served]) -> None:
    """Is said to have none."""
    client, status = serve(Numbers), started[0].status
    client.reset()
    status.ask_for_frame()
    client.step(0)
    assert status.frame_state is FrameState.NO_IMAGE


def test_an_environment_that_cannot_be_rendered(
    serve: Serve, started: list[Served], capfd: pytest.CaptureFixture[str]
) -> None:
    """Goes on; it is tried once, and logged once."""
    client, status = serve(Pictures, render_mode="rgb_array"), started[0].status
    client.reset()
    for _ in range(2):
        client.step_many(action=0, count=4)
        client.reset()
    for _ in range(3):
        status.ask_for_frame()
        assert client.step(0).reward == 0.5
        assert status.frame_state is FrameState.FAILED
    assert capfd.readouterr().err.count("ValueError: no more film") == 1


@pytest.mark.parametrize("several", [False, True])
def test_steps_are_timed_as_many_as_are_wanted(serve: Serve, started: list[Served], several: bool) -> None:
    """And no more."""
    client, status = serve(Numbers, **({"num_envs": 2} if several else {})), started[0].status
    action: Any = [0, 0] if several else 0
    client.reset()
    status.ask_for_step_times(3)
    for _ in range(3):
        client.step(action)
    counts, total = status.step_times()
    assert sum(counts) == 3
    assert 0.0 < total < 60.0
    assert status.words[ATTENTION] == 0.0
    if not several:
        client.reset()
    client.step(action)
    assert sum(status.step_times()[0]) == 3


def test_the_last_episodes_are_kept(serve: Serve, started: list[Served]) -> None:
    """With their returns and lengths, however the steps were asked for."""
    client, status = serve(Numbers), started[0].status
    for number in range(KEPT_EPISODES + 3):
        client.reset()
        if number % 2:
            client.step_many(action=0, count=10)
        else:
            for _ in range(4):
                client.step(0)
    found = status.last_episodes()
    assert [each.number for each in found] == list(range(4, KEPT_EPISODES + 4))
    assert {(each.total, each.steps) for each in found} == {(2.0, 4)}
    assert status.first_observation is not None
    assert [each.number for each in status.last_episodes(1)] == [KEPT_EPISODES + 3]


def test_an_episode_that_is_given_up_counts_for_nothing(serve: Serve, started: list[Served]) -> None:
    """Its rewards are not the next one's."""
    client, status = serve(Numbers), started[0].status
    client.reset()
    client.step_many(action=0, count=4)
    client.reset()
    client.step(0)
    client.reset()
    client.step_many(action=0, count=3)
    assert [(each.total, each.steps) for each in status.last_episodes()] == [(2.0, 4), (1.5, 3)]


def test_each_environment_of_several_has_its_episodes(serve: Serve, started: list[Served]) -> None:
    """The step by which one is reset is no step of its episode."""
    client, status = serve(Numbers, num_envs=2), started[0].status
    client.reset()
    for _ in range(9):
        client.step([0, 0])
    assert [(each.total, each.steps) for each in status.last_episodes()] == 4 * [(2.0, 4)]


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((20, 10), (20, 10, 1)),
        ((20, 10, 1), (20, 10, 1)),
        ((20, 10, 4), (20, 10, 1)),
        ((3, 20, 10), (20, 10, 3)),
        ((4, 20, 10), (20, 10, 1)),
        ((20,), None),
        ((3, 3), None),
        ((2, 20, 10, 3), None),
        ((0, 0, 3), None),
    ],
)
def test_images_have_one_of_several_shapes(shape: tuple[int, ...], shown: tuple[int, ...] | None) -> None:
    """Of frames in a stack the last is shown."""
    found = live_frames.image_in({"numbers": np.zeros(3), "image": np.zeros(shape, np.uint8)})
    assert (None if found is None else found.shape) == shown


def test_a_frame_that_is_too_large_is_thinned(status: SessionStatus) -> None:
    """There is room for so much and no more."""
    live_frames.write(status, np.full((MOST, MOST, 3), 9, np.uint8))
    assert status.frame_shape is not None
    height, width, channels = status.frame_shape
    assert height * (1 + width * channels) <= FRAME_SIZE
    assert (frame_in(status) == 9).all()

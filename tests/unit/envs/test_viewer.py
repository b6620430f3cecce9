"""The window that shows an environment's frames, on a screen that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gymtwist.envs.viewer import Viewer

pygame = pytest.importorskip("pygame")


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Viewer]:
    """A viewer whose window is in memory alone."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.quit()
    made = Viewer("a title")
    yield made
    made.close()


def shown() -> np.ndarray[Any, Any]:
    """Return what the window shows, with the height first."""
    return np.asarray(pygame.surfarray.array3d(pygame.display.get_surface())).transpose(1, 0, 2)


def frame(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a frame of which no two pixels are alike."""
    return (np.arange(height * width * 3) % 251).astype(np.uint8).reshape(height, width, 3)


def test_no_window_before_the_first_frame(viewer: Viewer) -> None:
    """Most sessions never render."""
    assert not pygame.display.get_init()


def test_a_frame_is_shown(viewer: Viewer) -> None:
    """To the pixel, in a window of its size that says what it shows."""
    viewer.show(frame(40, 60))
    assert np.array_equal(shown(), frame(40, 60))
    assert pygame.display.get_caption()[0] == "a title"


def test_frames_that_are_not_contiguous(viewer: Viewer) -> None:
    """As Atari and MuJoCo return them: flipped, read-only."""
    flipped = frame(40, 60)[::-1, ::-1]
    flipped.flags.writeable = False
    viewer.show(flipped)
    assert np.array_equal(shown(), flipped)


def test_frames_of_another_size(viewer: Viewer) -> None:
    """Get a window of that size."""
    for height, width in ((40, 60), (40, 60), (60, 40)):
        viewer.show(frame(height, width))
        assert np.array_equal(shown(), frame(height, width))


@pytest.mark.parametrize(
    "nothing", [None, [frame(4, 4)], frame(4, 4)[:, :, 0], frame(4, 4)[:, :, :1], frame(0, 4), "frame"]
)
def test_invalid_frames(viewer: Viewer, nothing: Any) -> None:
    """Is an error of the kind that turns rendering off; the session goes on."""
    with pytest.raises(RuntimeError, match=r"a frame has the shape \(height, width, 3\), not"):
        viewer.show(nothing)


def test_closing(viewer: Viewer) -> None:
    """Closes the window, once, and a frame opens another."""
    viewer.show(frame(40, 60))
    for _ in range(2):
        viewer.close()
        assert not pygame.display.get_init()
    viewer.show(frame(40, 60))
    assert np.array_equal(shown(), frame(40, 60))


def test_no_sound_and_no_joysticks(viewer: Viewer) -> None:
    """A window needs neither, and a server may have neither."""
    viewer.show(frame(40, 60))
    assert pygame.mixer.get_init() is None
    assert not pygame.joystick.get_init()

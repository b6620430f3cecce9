"""A window for the frames of a multi-agent environment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gymtwist.client.agents_window import AgentsWindow


@pytest.mark.parametrize(
    ("metadata", "interval"),
    [({}, 1 / 30), ({"render_fps": 50}, 0.02), ({"render_fps": 0}, 0), ({"render_fps": "5"}, 0)],
)
def test_a_window_needs_no_metadata(metadata: dict[str, Any], interval: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment may say nothing, and a server anything."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame = pytest.importorskip("pygame")
    window = AgentsWindow(metadata)
    assert window.interval == interval
    window.show(None)
    assert not pygame.display.get_init()
    window.show(np.zeros((4, 5, 3), np.uint8))
    assert pygame.display.get_init()
    window.close()
    assert not pygame.display.get_init()

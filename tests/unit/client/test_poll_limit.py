"""The limit of a client's polling, from the environment variable."""

from __future__ import annotations

import pytest

from gymtwist.client import connect
from gymtwist.client.connect_options import poll_limit
from gymtwist.protocol.adaptive_waiting import REPLY_LIMIT


@pytest.mark.parametrize(("text", "seconds"), [("", REPLY_LIMIT), ("0", 0.0), ("250", 250e-6), ("1e6", 1.0)])
def test_microseconds(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    """As with --poll of the server."""
    monkeypatch.setenv("GYMTWIST_POLL", text)
    assert poll_limit() == seconds


@pytest.mark.parametrize("text", ["-1", "1000001", "nan", "never"])
def test_anything_else_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """With the name, the value and what is expected."""
    monkeypatch.setenv("GYMTWIST_POLL", text)
    with pytest.raises(ValueError, match=f"GYMTWIST_POLL is '{text}': expected microseconds from 0 to 1000000"):
        connect(1, "CartPole-v1", connect_timeout=1e-3)  # where no server is: nothing has been connected

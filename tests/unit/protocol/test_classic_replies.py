"""The classic protocol: the server's replies to bytes."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from gymtwist.protocol import classic


def test_replies_of_text() -> None:
    """A length before the text; a type before that where it is an action or an observation."""
    assert classic.string(b"{}") == b"\2\0\0\0{}"
    assert classic.action(b"{}") == b"\0\2\0\0\0{}"
    assert classic.observation_json(b"[1]") == b"\0\3\0\0\0[1]"


def test_an_error_string() -> None:
    """It is empty for success, and UTF-8 whatever the message is made of."""
    assert classic.error_string() == b"\0\0\0\0"
    assert classic.error_string("größe") == b"\7\0\0\0gr\xc3\xb6\xc3\x9fe"
    assert classic.error_string("\ud800") == b"\1\0\0\0?"
    assert classic.error_string("x" * 10**6) == b"\xa3\x0f\0\0" + b"x" * 4000 + b"..."


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("reward", [0.0, -1.5, float("inf"), float("nan")])
def test_a_step_tail(reward: float, done: bool) -> None:
    """Reward as float64, done as a byte, info as a string."""
    assert classic.step_tail(reward, done, b"{}") == struct.pack("<d?I", reward, done, 2) + b"{}"


FRAME = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
FRAME.flags.writeable = False


@pytest.mark.parametrize(
    "array",
    [
        *(FRAME, FRAME.T, FRAME[::-1, ::2], np.asfortranarray(FRAME), np.broadcast_to(FRAME[:1], (2, 3, 4))),
        *(FRAME[0, 0, 0:0], FRAME[:, :0], FRAME.reshape(24), np.array(7, np.uint8), FRAME.astype(">u1")),
    ],
)
def test_an_observation_of_bytes(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    """Dimensions, then bytes in C order: of any shape, empty ones too, and however it lies in memory."""
    dimensions = struct.pack(f"<{1 + array.ndim}I", array.ndim, *array.shape)
    body = dimensions + bytes(array.ravel().tolist())
    assert b"".join(classic.observation_bytes(array)) == struct.pack("<BI", 1, len(body)) + body


def test_an_observation_of_bytes_is_not_copied() -> None:
    """What lies in C order is sent from where it lies."""
    frame = np.zeros((4, 4), np.uint8)
    sent = memoryview(classic.observation_bytes(frame)[1])
    frame[0, 0] = 9
    assert sent[0] == 9

"""Infos as environments have them: whatever is in them, each step gets its reply, and the session goes on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.plain_environment import Plain
from tests.support.served_session import Serve


class Unhashable(type):
    """A type that cannot be looked up."""

    __hash__ = None  # type: ignore[assignment]


class Odd(metaclass=Unhashable):
    """Of such a type."""


def strings() -> Any:
    """Return an array whose dtype cannot be looked up."""
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("this NumPy has no StringDType")
    return np.array(["a"], dtype=np.dtypes.StringDType(na_object=[]))


def odd_array() -> Any:
    """Return an array of objects of that type; NumPy looks the type up if it makes the array of a list."""
    array = np.empty(1, object)
    array[0] = Odd()
    return array


@pytest.mark.parametrize("make", [Odd, strings, odd_array])
def test_what_cannot_be_carried_is_left_out(
    serve: Serve, make: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing else, whether or not there are arrays beside it; the reply names it, and the log does so once."""
    value = make()

    class Environment(Plain):
        def act(self, action: Any) -> dict[str, Any]:
            return {"lives": np.arange(3), "odd": value, "count": 2}

    client = serve(Environment)
    client.reset()
    for _ in range(3):
        info = client.step(1).info
        assert info["count"] == 2
        assert "lives" in info
        assert all(place.startswith("info.odd") for place in client.omitted)
        assert client.omitted or info["odd"] == ["a"]  # JSON has strings of any kind
    assert capsys.readouterr().err.count("the client does not get info.odd") == bool(client.omitted)


@pytest.fixture
def hurried() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hurried")
def test_an_info_that_a_thread_goes_on_writing_to_is_sent_as_it_is_at_some_moment(serve: Serve) -> None:
    """It gets and loses entries all the time."""
    info: dict[str, Any] = {"lives": np.arange(3)}
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            for index in range(20):
                info[f"key{index}"] = np.arange(index)
            for index in range(20):
                del info[f"key{index}"]

    class Environment(Plain):
        def act(self, action: Any) -> dict[str, Any]:
            return info

    writer = threading.Thread(target=write)
    writer.start()
    try:
        client = serve(Environment)
        client.reset()
        for _ in range(300):
            assert "lives" in client.step(1).info
    finally:
        over.set()
        writer.join()

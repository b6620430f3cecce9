"""A server that is full: clients are told so, and their places in its queue."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gymtwist.client import Progress, RemoteEnv, RequestRefused, TimedOut, aio, connect, connect_vec, envs
from tests.support.event_loops import place, run
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess, connected

CLIENT_MEASURED = True


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with one session and two places in its queue."""
    with ServerProcess(tmp_path_factory.mktemp("server"), "--max-sessions", "1", "--queue", "2") as running:
        connected(("127.0.0.1", running.port)).close()
        yield running


class Waiting(threading.Thread):
    """Connects, which takes until a session is free."""

    def __init__(self, server: ServerProcess, protocol: str) -> None:
        super().__init__()
        self.env: RemoteEnv | None = None
        self.reports: list[Progress] = []
        self._server, self._protocol = server, protocol
        self.start()

    def run(self) -> None:
        """Connect."""
        self.env = connect(
            self._server.port,
            "CartPole-v1",
            protocol=self._protocol,  # type: ignore[arg-type]
            timeout=PATIENCE,
            progress=self.reports.append,
        )

    def finished(self) -> RemoteEnv:
        """Return the environment."""
        self.join(PATIENCE)
        assert self.env is not None
        return self.env


@pytest.mark.parametrize("protocol", ["int32", "netstring"])
def test_places_in_the_queue_are_told(full: ServerProcess, caplog: pytest.LogCaptureFixture, protocol: str) -> None:
    """To the log, at first and whenever one moves up; to the callback also in between."""
    caplog.set_level(logging.WARNING, "gymtwist.client")
    waiting: list[Waiting] = []
    with connect(full.port, "CartPole-v1", timeout=PATIENCE) as first:
        caplog.clear()  # it may have waited for the end of the session before
        for _ in range(2):
            mark = full.mark()
            waiting.append(Waiting(full, protocol))
            full.wait_for("waits|queue", since=mark)
        first.reset()
    waiting[0].finished().close()
    env = waiting[1].finished()
    env.reset()
    env.close()
    places = [record.getMessage().rpartition(": ")[2] for record in caplog.records]
    assert sorted(places) == ["place 1 in its queue", "place 1 in its queue", "place 2 in its queue"]
    told = [(report.stage, report.place) for report in waiting[1].reports]
    assert list(dict.fromkeys(told)) == [("making", None), ("queued", 2), ("queued", 1)]


def test_a_client_that_is_refused_tries_again(full: ServerProcess, caplog: pytest.LogCaptureFixture) -> None:
    """Until there is a place for it in the queue; here as soon as the others have left."""
    caplog.set_level(logging.WARNING, "gymtwist.client")
    first, waiting, stages = connect(full.port, "CartPole-v1", timeout=PATIENCE), list[Waiting](), list[str]()
    for _ in range(2):
        mark = full.mark()
        waiting.append(Waiting(full, "int32"))
        full.wait_for("waits|queue", since=mark)

    def leave(progress: Progress) -> None:
        stages.append(progress.stage)
        if progress.stage == "connecting":
            first.close()
            for each in waiting:
                each.finished().close()

    limits: dict[str, Any] = {"timeout": PATIENCE, "connect_timeout": PATIENCE}
    with connect(full.port, "CartPole-v1", **limits, progress=leave) as env:
        env.reset()
    assert stages[:2] == ["making", "connecting"]
    assert any("has no session yet (the server is full" in each for each in caplog.messages)


def test_a_callback_that_raises_ends_the_wait(full: ServerProcess) -> None:
    """And leaves the queue to others."""

    def give_up(progress: Progress) -> None:
        if progress.stage == "queued":
            raise LookupError(f"place {progress.place} will not do")

    with connect(full.port, "CartPole-v1", timeout=PATIENCE):
        with pytest.raises(LookupError, match="place 1 will not do"):
            connect(full.port, "CartPole-v1", timeout=PATIENCE, progress=give_up)
        waiting = Waiting(full, "int32")
    with waiting.finished() as env:
        env.reset()


def test_a_timeout_in_the_queue_says_that_the_server_is_full(full: ServerProcess) -> None:
    """And not that it does not answer."""
    words = r"is full: no session was free within 0\.5 s, at place 1 in its queue"
    with connect(full.port, "CartPole-v1", timeout=PATIENCE), pytest.raises(TimedOut, match=words):
        connect(full.port, "CartPole-v1", timeout=0.5)
    with pytest.raises(
        TimedOut, match=r"is full: no session was free for 2 of 3 processes within 0\.5 s, at place 1 in"
    ):
        connect_vec(full.port, "CartPole-v1", 3, processes=3, timeout=0.5)


def test_a_list_of_environments_waits_for_a_session(full: ServerProcess, caplog: pytest.LogCaptureFixture) -> None:
    """As an environment does, and is told its place."""
    caplog.set_level(logging.WARNING, "gymtwist.client")
    with connect(full.port, "CartPole-v1", timeout=PATIENCE) as first:
        caplog.clear()
        with pytest.raises(TimedOut, match=r"is full: no session was free within 0\.5 s, at place 1 in its queue"):
            envs(full.port, timeout=0.5)
        assert caplog.messages == [f"localhost:{full.port} is full: place 1 in its queue"]
        first.reset()
    assert envs(full.port, timeout=PATIENCE)


@pytest.mark.parametrize("waits", ["blocking", "in an event loop"])
def test_several_processes_do_not_wait_for_one_if_another_is_refused(full: ServerProcess, waits: str) -> None:
    """The first has the session, two wait behind it, and there is no room for the fourth."""
    arguments: Any = {"processes": 4, "timeout": PATIENCE, "connect_timeout": 0.01}

    async def play() -> None:
        await aio.connect_vec(place(full), "CartPole-v1", 4, **arguments)

    with pytest.raises(RequestRefused, match="the server is full") as caught:
        if waits == "blocking":
            connect_vec(full.port, "CartPole-v1", 4, **arguments)
        else:
            run(play())
    assert caught.value.code == "server-full"
    with connect(full.port, "CartPole-v1", timeout=PATIENCE) as env:
        env.reset()

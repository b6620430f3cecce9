"""Modules that start threads before the fork: what needs these is served by fresh processes, or refused."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gymtwist_conformance.reference_client import INT32, Failed, FramedClient, Refused
from tests.support.server_process import ServerProcess, connected

CLIENT_MEASURED = True

#: A thread works for the environment, as the thread pools of JAX do.
ENGINE = """
import queue, threading
import gymnasium
from tests.support.plain_environment import Plain

_questions, _answers = queue.Queue(), queue.Queue()

def _work():
    while True:
        _questions.get()
        _answers.put(1)

threading.Thread(target=_work, daemon=True).start()

class Working(Plain):
    def reset(self, **arguments):
        _questions.put(1)
        _answers.get()
        return super().reset(**arguments)

def refuse():
    raise ValueError("no longer")

gymnasium.register("Thread/Old-v0", entry_point="engine:refuse")  # it shows nothing
gymnasium.register("Thread/Working-v0", entry_point=Working)
gymnasium.register("Thread/Chosen-v0", entry_point=Working)
"""
#: Threads that nothing waits for, and environments that do without.
SETUP = """
import threading
import gymnasium
import engine
from tests.support.plain_environment import Plain

threading.Thread(target=threading.Event().wait, daemon=True).start()
gymnasium.register("Thread/Idle-v0", entry_point=type("Idle", (Plain,), {"__module__": __name__}))
"""
WORKING, CHOSEN = "Thread/Working-v0", "Thread/Chosen-v0"


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose setup file imports such a module."""
    directory = tmp_path_factory.mktemp("threaded")
    (directory / "engine.py").write_text(ENGINE)
    (directory / "setup.py").write_text(SETUP)
    words = ("--step-timeout", "3", "--spawn", CHOSEN)
    with ServerProcess(directory, *words, setup=directory / "setup.py") as server:
        yield server


def test_the_log_names_what_started_threads_and_what_is_refused(threaded: ServerProcess) -> None:
    """At the start, each module with the number of its threads."""
    threaded.wait_for(r"\[fork server\] \| modules started threads.*: engine \(1\), the setup file \(1\)$")
    told = threaded.wait_for(r"do not respond in a forked process, and are refused: (.*); serve them with --spawn")
    assert told.group(1) == f"Thread/Old-v0, {WORKING}"


@pytest.mark.parametrize("name", [WORKING, "Thread/Working"])
def test_what_waits_for_a_thread_is_refused_with_the_remedy(threaded: ServerProcess, name: str) -> None:
    """At once, by whatever name."""
    remedy = re.escape("engine (1)") + f".*--spawn '{WORKING}'.*--start-method spawn"
    with pytest.raises(Refused, match=remedy):
        threaded.open(name)
    with FramedClient(connected(("127.0.0.1", threaded.port)), INT32) as client:
        with pytest.raises(Failed, match=remedy) as caught:
            client.make(name)
        assert caught.value.code == "environment-refused"


def test_other_environments_are_served(threaded: ServerProcess) -> None:
    """A count of threads says nothing."""
    for name in ("Thread/Idle-v0", "CartPole-v1"):
        with threaded.open(name) as client:
            client.play(1)


def test_an_operator_can_choose_fresh_processes_for_an_id(threaded: ServerProcess) -> None:
    """It works there; a client that asks for another first, and fails, needs another connection."""
    with threaded.open(CHOSEN) as client:
        client.play(1)
    with FramedClient(connected(("127.0.0.1", threaded.port)), INT32) as framed:
        framed.make(CHOSEN)
        framed.reset()
    with FramedClient(connected(("127.0.0.1", threaded.port)), INT32) as framed:
        with pytest.raises(Failed):
            framed.make("CartPole-v1", kwargs={"nonsense": 1})
        with pytest.raises(Failed, match="open another connection"):
            framed.make(CHOSEN)

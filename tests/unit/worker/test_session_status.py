"""The session status: what a worker shows of its session, and what the server sees of it."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from gymtwist.worker import session_status as module
from gymtwist.worker.session_status import (
    ANSWERED,
    EPISODES,
    STEPS,
    Operation,
    SessionStatus,
    create,
)


@pytest.fixture
def descriptor() -> Iterator[int]:
    """The memory of one session."""
    made = create()
    yield made
    with contextlib.suppress(OSError):
        os.close(made)


@pytest.fixture
def worker(descriptor: int) -> SessionStatus:
    """The worker's side."""
    return SessionStatus(descriptor)


@pytest.fixture
def server(worker: SessionStatus, descriptor: int) -> SessionStatus:
    """The server's side; nobody needs the descriptor any more."""
    made = SessionStatus(descriptor)
    os.close(descriptor)
    return made


def test_a_session_that_has_not_begun(server: SessionStatus) -> None:
    """Does nothing and has done nothing."""
    assert server.busy_since is None
    assert server.last_activity == 0.0
    assert (server.steps, server.episodes, server.answered) == (0, 0, False)


@pytest.mark.parametrize("operation", Operation)
def test_an_operation_is_shown_while_it_goes_on(
    worker: SessionStatus, server: SessionStatus, operation: Operation
) -> None:
    """With the time at which it began, and after it the time at which it ended."""
    before = time.monotonic()
    worker.begin(operation)
    began = server.busy_since
    assert began is not None
    assert before <= began <= time.monotonic()
    assert server.operation is operation
    worker.end()
    assert server.busy_since is None
    assert server.operation is operation
    assert began <= server.last_activity <= time.monotonic()


def test_the_worker_counts_steps_and_episodes(worker: SessionStatus, server: SessionStatus) -> None:
    """Is seen as what it is, far beyond any session's number of steps."""
    worker.words[STEPS] = float(2**52 + 1)
    worker.words[EPISODES] = 3.0
    worker.words[ANSWERED] = 1.0
    assert (server.steps, server.episodes) == (2**52 + 1, 3)
    assert server.answered is True


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, -1.0, 1e300])
def test_words_that_make_no_sense_are_none(worker: SessionStatus, server: SessionStatus, nonsense: float) -> None:
    """An environment can write to them; the server reads what it can be sure to calculate with."""
    for index in range(len(worker.words)):
        worker.words[index] = nonsense
    assert (server.busy_since, server.last_activity, server.steps, server.episodes) == (None, 0.0, 0, 0)
    assert server.operation in Operation
    worker.words[module.OPERATION] = 77.0
    assert server.operation is Operation.STEP


def test_the_memory_keeps_its_size(descriptor: int) -> None:
    """A process that reads a shortened mapping is killed."""
    for size in (0, 4096):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)


def test_another_process_shares_it(worker: SessionStatus, descriptor: int) -> None:
    """Any that gets the descriptor."""
    script = (
        "import sys; from gymtwist.worker.session_status import *; SessionStatus(int(sys.argv[1])).words[STEPS] = 7.0"
    )
    subprocess.run([sys.executable, "-c", script, str(descriptor)], pass_fds=[descriptor], check=True)
    assert worker.steps == 7


def test_sessions_have_memory_of_their_own(worker: SessionStatus) -> None:
    """One shows nothing of the other."""
    other = create()
    worker.words[STEPS] = 7.0
    assert SessionStatus(other).steps == 0
    os.close(other)


def test_the_memory_is_not_inherited_by_programs(descriptor: int) -> None:
    """What an environment starts does not get it."""
    assert not os.get_inheritable(descriptor)


def test_closing_leaves_nothing(descriptor: int) -> None:
    """Not the mapping; the other side goes on."""
    one, other = SessionStatus(descriptor), SessionStatus(descriptor)
    one.close()
    with pytest.raises(ValueError, match="released"):
        one.words[STEPS] = 1.0
    other.words[STEPS] = 2.0
    assert other.steps == 2


def test_every_word_has_a_place() -> None:
    """Of its own, in the memory that there is."""
    places = {module.BUSY_SINCE, module.OPERATION, module.LAST_ACTIVITY, ANSWERED, STEPS, EPISODES}
    places |= {module.MADE, module.TAKEN, module.RECEIVED}
    assert places == set(range(9))

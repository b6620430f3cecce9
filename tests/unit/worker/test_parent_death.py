"""The lifeline: a process that is tied to a socket dies with its whole group when the other end closes."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle

#: Ties itself to the socket it is given, says so with the number of a process of its group, and hangs.
TIED = """
import signal, socket, subprocess, sys, time
from gymtwist.worker import parent_death
connection = socket.socket(fileno=int(sys.argv[1]))
deed = sys.argv[2]
if deed == "late":
    connection.recv(1, socket.MSG_PEEK)
with parent_death.tied(connection):
    sibling = subprocess.Popen(["sleep", "1000"])
    if deed == "deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if deed != "leaves":
        print(sibling.pid, flush=True)
        while True:
            time.sleep(1000)
    sibling.kill()
print(0, flush=True)
connection.recv(1)
connection.recv(1)
"""


class Tied:
    """A process with a lifeline, and its other end."""

    def __init__(self, deed: str) -> None:
        """Start it."""
        self.end, its = socket.socketpair()
        with its:
            self.process = subprocess.Popen(
                [sys.executable, "-c", TIED, str(its.fileno()), deed],
                pass_fds=[its.fileno()],
                stdout=subprocess.PIPE,
                start_new_session=True,
            )

    def ready(self) -> int:
        """Wait until it is tied, or not tied any more; return what it says."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 20)[0]
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self.end.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def tied(request: pytest.FixtureRequest) -> Iterator[Tied]:
    """A process that does the test's parameter."""
    made = Tied(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("tied", ["sleeps", "deaf"], indirect=True)
@pytest.mark.parametrize("what", ["close", "send"])
def test_a_tied_process_dies_when_anything_happens(tied: Tied, what: str) -> None:
    """With all of its group, and even if it blocks every signal that can be blocked."""
    sibling = Handle(tied.ready())
    if what == "close":
        tied.end.close()
    else:
        tied.end.send(b"x")
    assert tied.process.wait(PATIENCE) == -signal.SIGKILL
    assert sibling.wait(PATIENCE)


@pytest.mark.parametrize("tied", ["late"], indirect=True)
def test_a_process_that_is_tied_too_late_dies_at_once(tied: Tied) -> None:
    """What happened before the kernel was asked counts, too."""
    tied.end.close()
    assert tied.process.wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.parametrize("tied", ["leaves"], indirect=True)
def test_a_process_is_not_tied_any_more_outside(tied: Tied) -> None:
    """It may be spoken to again."""
    assert tied.ready() == 0
    tied.end.send(b"x")
    tied.end.close()
    assert tied.process.wait(PATIENCE) == 0


def test_the_group_of_the_tests_is_not_theirs() -> None:
    """A tied process has a group of its own: nobody else is killed."""
    made = Tied("sleeps")
    made.ready()
    assert os.getpgid(made.process.pid) != os.getpgrp()
    made.close()

"""Waiting for a process that imports everything, which reports its progress."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from gymtwist.errors import WorkerStartError
from gymtwist.server.worker_starter import READY_TIMEOUT, SpawnStarter, wait_ready
from gymtwist.worker.readiness import Readiness
from gymtwist.worker.worker_settings import WorkerSettings
from tests.support.harness import SteppedReactor

READINESS = Readiness(threads="jax")


class SlowProcess:
    """A process that writes the next report at each look at the clock, which then has gone on for a minute."""

    def __init__(self, *reports: bytes) -> None:
        """Have written nothing."""
        self.reports = list(reports)
        self.now = 0.0
        self.ready, self._ready_writer = os.pipe()
        self.output, self._output_writer = os.pipe()

    def clock(self) -> float:
        """Return the time."""
        self.now += READY_TIMEOUT / 2
        os.write(self._ready_writer if self.reports else self._output_writer, (self.reports or [b"."]).pop(0))
        return self.now

    def close(self) -> None:
        """Close its pipes."""
        for each in (self.ready, self._ready_writer, self.output, self._output_writer):
            os.close(each)


@pytest.fixture
def processes() -> Iterator[list[SlowProcess]]:
    """Those of a test."""
    processes: list[SlowProcess] = []
    yield processes
    for each in processes:
        each.close()


def test_each_sign_of_progress_has_the_time_of_the_first(processes: list[SlowProcess]) -> None:
    """A process may import one module after the other, and try environments; later ones may take as long."""
    line = READINESS.to_line()
    processes.append(SlowProcess(*[b"\n"] * 10, line[:5], line[5:]))
    outcome = wait_ready(processes[0].ready, processes[0].output, processes[0].clock)
    assert outcome.readiness == READINESS
    assert outcome.seconds > 4 * READY_TIMEOUT
    starter = SpawnStarter(SteppedReactor(), WorkerSettings(monitor_root="/"))
    starter.started(outcome)
    assert starter.ready_timeout == READY_TIMEOUT + outcome.seconds
    starter.reactor.close()


def test_a_process_without_progress_is_given_up(processes: list[SlowProcess]) -> None:
    """Also if it prints all the time."""
    processes.append(SlowProcess(b"\n"))
    with pytest.raises(WorkerStartError, match="took more than 120 s"):
        wait_ready(processes[0].ready, processes[0].output, processes[0].clock)

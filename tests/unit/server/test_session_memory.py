"""The limit of a session's memory, as the server enforces it; what the processes hold is as the test says."""

from __future__ import annotations

import pytest

from gymtwist.protocol.framing import ProtocolName
from gymtwist.protocol.make_messages import Make
from gymtwist.server.process_memory import Usage
from gymtwist.worker.guarded_call import ran_out_of_memory
from gymtwist.worker.session_status import ANSWERED, MADE, STEPS, Operation
from tests.support.codec_samples import answered, asked
from tests.support.connection_fixtures import Make as MakeHarness
from tests.support.connection_fixtures import serving
from tests.support.harness import FakeProcess, Harness, soon

PROTOCOL = ProtocolName.INT32
TOO_MUCH = Usage(held=300 << 20, own=50 << 20, started=[1])


@pytest.fixture
def limited(make: MakeHarness) -> Harness:
    """A server whose sessions may hold 200 MiB."""
    return make("--memory-limit", "200")


def begin(harness: Harness) -> FakeProcess:
    """Have a session begin, and its memory be measured."""
    client, process = serving(harness, asked(PROTOCOL, Make("CartPole-v1")))
    status = process.begin()
    status.words[ANSWERED] = status.words[MADE] = 1.0
    harness.reactor.advance(1.0)
    client.close()
    return process


def exceed(harness: Harness) -> None:
    """Have the last measurement find too much."""
    harness.measurements[-1].exceeded()
    harness.measurements[-1].result.callback(TOO_MUCH)


def lacks_memory(process: FakeProcess) -> bool:
    """Return whether a failure of the process would be told as a lack of memory."""
    assert process.status is not None
    return process.status.out_of_memory


def failed_by(cause: Exception) -> Exception:
    """Return an error that another has caused."""
    error = RuntimeError("a step failed")
    error.__cause__ = cause
    return error


def crash(process: FakeProcess, harness: Harness) -> str:
    """Have a process die in a step; return what the client is told."""
    assert process.status is not None
    process.status.begin(Operation.STEP)
    process.die(-11)
    soon(lambda: bool(harness.starter.serving), harness.turn)
    return answered(PROTOCOL, harness.starter.serving[-1].job["recovery_reply"]).message


def test_a_session_is_measured_once_at_a_time(limited: Harness) -> None:
    """In a thread, which may take its time; it has the process and the limit."""
    process = begin(limited)
    (measurement,) = limited.measurements
    assert (measurement.process, measurement.limit) == (process.pid, 200 << 20)
    limited.reactor.advance(5.0)
    assert len(limited.measurements) == 1
    measurement.result.callback(Usage(0, 0, []))
    limited.reactor.advance(1.0)
    limited.measurements[1].result.errback(RuntimeError("a bug"))
    assert limited.log.having("its memory cannot be measured")
    limited.reactor.advance(1.0)
    assert len(limited.measurements) == 3


def test_a_crash_for_lack_of_memory_names_the_limit(limited: Harness) -> None:
    """To the client and in the log."""
    process = begin(limited)
    exceed(limited)
    told = crash(process, limited)
    assert told.startswith("the environment ran out of memory in step; a session's processes may hold 200 MiB together")
    assert limited.log.having("[session 1] its processes hold 300 MiB and may hold 200")


def test_a_lack_of_memory_is_forgotten_when_the_environment_goes_on(limited: Harness) -> None:
    """A later crash has another reason, whether or not another look comes between."""
    process = begin(limited)
    exceed(limited)
    assert process.status is not None
    process.status.words[STEPS] = 1
    limited.reactor.advance(1.0)
    assert lacks_memory(process)
    process.status.words[STEPS] = 7  # a step of six environments that was under way
    limited.reactor.advance(1.0)
    assert lacks_memory(process)
    process.status.words[STEPS] = 13
    limited.reactor.advance(1.0)
    assert not lacks_memory(process)
    exceed(limited)
    process.status.words[STEPS] = 20
    assert crash(process, limited).startswith("the environment's process was killed by SIGSEGV in step")


def test_a_lack_of_memory_is_not_that_of_the_next_process(limited: Harness) -> None:
    """Neither if the former one lacked it, nor if that is found out late."""
    process = begin(limited)
    exceed(limited)
    limited.reactor.advance(1.0)
    crash(process, limited)
    exceed(limited)
    assert limited.starter.serving[-1].begin().out_of_memory is False
    assert crash(limited.starter.serving[-1], limited).startswith("the environment's process was killed by SIGSEGV")


def test_a_worker_that_fails_for_want_of_killed_processes(limited: Harness) -> None:
    """It is the lack of memory, even if a step of many environments that was under way has still been counted."""
    process = begin(limited)
    exceed(limited)
    status = process.status
    assert status is not None
    status.words[STEPS] = 6
    limited.reactor.advance(1.0)
    assert lacks_memory(process)
    ran_out_of_memory(failed_by(ConnectionError()), status)
    assert crash(process, limited).startswith("the environment ran out of memory in step")


def test_a_process_that_is_refused_memory_after_others_were_killed(limited: Harness) -> None:
    """What the worker itself says is not forgotten, whatever steps came between."""
    process = begin(limited)
    exceed(limited)
    status = process.status
    assert status is not None
    status.words[STEPS] = 10
    ran_out_of_memory(failed_by(MemoryError()), status)
    assert crash(process, limited).startswith("the environment ran out of memory in step")


def test_a_measurement_that_ends_after_its_session(limited: Harness) -> None:
    """Changes nothing."""
    process = begin(limited)
    process.answer()
    limited.turn()
    exceed(limited)
    assert not limited.log.having("may hold")

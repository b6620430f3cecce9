"""One connection in the server: the watch over it, and every way to its end."""

from __future__ import annotations

import resource
import socket
import time
from contextlib import closing

import pytest
from twisted.internet.testing import StringTransport

from gymtwist.server.connection_states import Event, State
from gymtwist.server.gym_protocol import CLOSE_TIMEOUT, GymProtocol
from gymtwist.server.process_link import ANSWER_TIMEOUT
from gymtwist.server.session_events import Ended
from gymtwist.worker.session_status import ANSWERED, BUSY_SINCE, LAST_ACTIVITY, OPERATION, Operation
from tests.support.connection_fixtures import CARTPOLE, Make, connect, error_of, read, serving
from tests.support.harness import Harness, descriptor_count, soon

# The end


def test_a_connection_is_closed_when_the_worker_answers(harness: Harness) -> None:
    """The client reads the end of the stream, and the server forgets the connection when the client closes."""
    client, process = serving(harness)
    process.begin()
    process.answer()
    assert read(client, harness) == b""
    client.close()
    soon(lambda: not harness.factory.connections, harness.turn)


def test_a_client_that_does_not_close_is_aborted(harness: Harness) -> None:
    """Some seconds after the last words, whatever it still sends."""
    client, process = serving(harness)
    process.begin()
    process.answer()
    assert read(client, harness) == b""
    client.setblocking(True)
    client.sendall(b"\3" * 1000)
    harness.turn()
    assert harness.factory.connections
    harness.reactor.advance(5.0)
    harness.turn()
    assert not harness.factory.connections
    client.close()


def test_a_worker_that_dies_before_the_answer_leaves_last_words(harness: Harness) -> None:
    """A client whose environment crashed while it was made learns why."""
    client, process = serving(harness)
    process.begin()
    process.die(-11)
    assert error_of(read(client, harness)) == "the session ended: its process was killed by SIGSEGV"
    client.close()


def test_a_worker_that_dies_after_the_answer_leaves_silence(harness: Harness) -> None:
    """The replies have no place for an error."""
    client, process = serving(harness)
    process.begin().words[ANSWERED] = 1.0
    process.die(3)
    assert read(client, harness) == b""
    assert harness.log.having("ended: its process exited with status 3")
    client.close()


def test_a_worker_that_dies_before_it_begins_is_replaced(harness: Harness) -> None:
    """The client does not notice."""
    client, process = serving(harness)
    process.die(-9)
    harness.turn()
    again = harness.starter.serving[-1]
    assert again is not process
    assert again.job["handshake"] == CARTPOLE
    client.close()


def test_a_worker_that_does_not_begin_is_replaced(harness: Harness) -> None:
    """Within seconds, and the client does not notice."""
    client, process = serving(harness)
    process.process.link.responsive = True
    (connection,) = harness.factory.connections
    for _ in range(2):  # the first look sets the timer
        assert connection._session is not None
        connection._session.assigned_at -= ANSWER_TIMEOUT
        connection.timeoutConnection()
        harness.turn()
    again = harness.starter.serving[-1]
    assert not process.alive
    assert again is not process
    again.begin()
    again.answer()
    harness.turn()
    assert harness.log.having("ended: the client left")
    client.close()


def test_a_worker_that_ends_without_a_handshake_reply(harness: Harness) -> None:
    """It has failed its client; the server tells what it knows."""
    client, process = serving(harness)
    process.begin()
    process.answer("it had nothing to say", handshake=False)
    harness.turn()
    assert error_of(read(client, harness)) == "the session ended: it had nothing to say"
    client.close()


def test_workers_that_never_begin_end_the_session(harness: Harness) -> None:
    """After three of them, and the idle one, the client is told."""
    client, _ = serving(harness)
    for _ in range(4):
        harness.starter.serving[-1].die(1)
        harness.turn()
    assert "its process exited with status 1" in error_of(read(client, harness))
    client.close()


def test_a_silent_client_is_hung_up_on(harness: Harness) -> None:
    """The worker reads the end of the stream, and may close the environment; then the log says why."""
    client, process = serving(harness)
    process.begin().words[LAST_ACTIVITY] = time.monotonic() - 601
    harness.reactor.advance(300)
    with socket.socket(fileno=process.job["socket"]) as given:
        given.setblocking(True)
        assert given.recv(1) == b""
        process.job["socket"] = given.detach()
    process.answer()
    harness.turn()
    assert harness.log.having("ended: idle for more than 600 s")
    client.close()


def test_a_worker_that_does_not_close_is_killed(harness: Harness) -> None:
    """It has its time to do so."""
    client, process = serving(harness)
    process.begin().words[LAST_ACTIVITY] = time.monotonic() - 601
    harness.reactor.advance(300)
    harness.turn()
    assert process.alive
    harness.reactor.advance(CLOSE_TIMEOUT)
    harness.turn()
    assert process not in harness.starter.alive
    assert harness.log.having("ended: idle for more than 600 s")
    client.close()


@pytest.mark.parametrize("closing", ["close", "shutdown"])
def test_a_client_that_leaves_a_busy_environment_is_noticed(make: Make, closing: str) -> None:
    """Its place is free in a while, though nothing can be read from it: the worker is killed if it does not return."""
    harness = make("--leave-timeout", "10", "--max-sessions", "1")
    client, process = serving(harness)
    words = process.begin().words
    words[OPERATION], words[BUSY_SINCE] = Operation.STEP, time.monotonic() - 20
    if closing == "close":
        client.close()
    else:
        client.shutdown(socket.SHUT_WR)
    harness.reactor.advance(5)
    (connection,) = harness.factory.connections
    assert connection._session is not None
    assert connection._session.left_at is not None
    assert process.alive
    connection._session.left_at -= 10
    harness.reactor.advance(10)
    assert process.alive
    harness.reactor.advance(CLOSE_TIMEOUT)
    harness.turn()
    assert process not in harness.starter.alive
    assert harness.log.having("ended: the client left, and its request went on for 10 s")
    client.close()


def test_an_overdue_step_ends_the_worker(harness: Harness) -> None:
    """At the next look at its status."""
    client, process = serving(harness)
    words = process.begin().words
    words[OPERATION], words[BUSY_SINCE] = Operation.STEP, time.monotonic() - 301
    harness.reactor.advance(300)
    harness.turn()
    assert not process.alive
    assert harness.log.having("ended: a step took more than 300 s")
    client.close()


@pytest.mark.parametrize("state", ["opening", "waiting", "serving", "ended"])
def test_a_connection_can_be_ended_in_every_state(make: Make, state: str) -> None:
    """As when the server stops: nothing of it is left."""
    harness = make("--max-sessions", "1")
    before = descriptor_count()
    clients = [connect(harness, b"" if state == "opening" else CARTPOLE)]
    if state == "waiting":
        clients.append(connect(harness, CARTPOLE))
    if state == "ended":
        harness.starter.serving[0].begin()
        harness.starter.serving[0].answer()
        harness.turn()
    for connection in list(harness.factory.connections):
        connection.stop("the server is shutting down")
    for process in harness.starter.serving:
        process.begin()
        process.answer()
    for client in clients:
        assert read(client, harness) == b""
        client.close()
    soon(lambda: not harness.factory.connections and not harness.starter.serving, harness.turn)
    soon(lambda: descriptor_count() <= before, harness.turn)


def test_an_event_that_cannot_happen_is_an_error(harness: Harness) -> None:
    """A closed connection stays closed."""
    connection = GymProtocol(harness.factory)
    connection.makeConnection(StringTransport())
    connection.connectionLost()
    with pytest.raises(AssertionError, match="ADMIT cannot happen to a connection in the state CLOSED"):
        connection.admitted()


def test_every_state_but_the_last_ends_in_the_last() -> None:
    """From each there is a way to CLOSED; and each event happens in some state."""
    table = GymProtocol.TRANSITIONS
    assert table.keys() == set(State)
    assert {event for events in table.values() for event in events} == set(Event)
    ends = {State.CLOSED}
    for _ in State:
        ends |= {state for state, events in table.items() if {following for following, _ in events.values()} & ends}
    assert ends == set(State)


# The site has a timer of its own.
@pytest.mark.parametrize("state", [state for state in State if state not in (State.CLOSED, State.HTTP)])
def test_the_server_can_stop_in_every_state(state: State) -> None:
    """And in each the timer has a meaning."""
    assert {Event.STOP, Event.TIMEOUT} <= GymProtocol.TRANSITIONS[state].keys()


# No means


def test_a_server_without_descriptors_refuses_and_frees_the_place(make: Make) -> None:
    """The client is told; when there are descriptors again, the next one is served."""
    harness = make("--max-sessions", "1")
    client = connect(harness, CARTPOLE[:-1])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        next(iter(harness.factory.connections)).dataReceived(CARTPOLE[-1:])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "cannot begin a session now: Too many open files" in error_of(read(client, harness))
    client.close()
    harness.turn()
    client, _ = serving(harness)
    client.close()


def test_a_server_that_cannot_start_workers_refuses_the_client(make: Make) -> None:
    """The place is free again, and no descriptor is left."""
    harness = make("--warm", "0", "--max-sessions", "1", pool=False)
    harness.starter.error = OSError(11, "Resource temporarily unavailable")
    for _ in range(2):
        before = descriptor_count()
        with closing(connect(harness, CARTPOLE)) as client:
            assert "Resource temporarily unavailable" in error_of(read(client, harness))
        soon(lambda: not harness.factory.connections, harness.turn)
        assert descriptor_count() == before


def test_the_processor_time_of_a_session_is_what_its_worker_tells(harness: Harness) -> None:
    """Its process may have ended when the server looks; the log and the metrics have the same."""
    ended: list[Ended] = []
    harness.factory.events.subscribe(lambda event: ended.append(event) if isinstance(event, Ended) else None)
    client, process = serving(harness)
    process.answer(processor_time=1.5)
    soon(lambda: ended, harness.turn)
    (event,) = ended
    assert event.processor_time == harness.factory.state.totals().processor_time == 1.5
    client.close()

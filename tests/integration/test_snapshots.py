"""Snapshots of real sessions: what follows one is the same each time, over every transport."""

from __future__ import annotations

import dataclasses
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import pytest

from gymtwist.client import EnvironmentFailed, RemoteError, RequestRefused, connect, connect_vec
from gymtwist.protocol import dynamic_values
from gymtwist.server.process_memory import SessionMemory, used_by
from tests.conftest import Start
from tests.support.patience import PATIENCE
from tests.support.process_inspection import command_line, descendants, descriptors, eventually, hold, left_after
from tests.support.server_process import ServerProcess

#: Whether to measure the coverage of its server.
MEASURED = True
OPTIONS = ("--max-snapshots", "3", "--monitor-root", ".")

CARTPOLE, PONG = "CartPole-v1", "ALE/Pong-v5"
STEPS = 50
Make = Callable[..., Any]


@pytest.fixture
def make(server: ServerProcess) -> Iterator[Make]:
    """Connect, and close at the end."""
    with ExitStack() as stack:

        def make(env_id: str = CARTPOLE, *, by: Any = connect, scheme: str = "", **options: Any) -> Any:
            return stack.enter_context(by(f"{scheme}127.0.0.1:{server.port}", env_id, **options))

        yield make


def played(env: Any, count: int = STEPS) -> list[bytes]:
    """Take steps with actions that depend on their number alone; return all that comes back."""
    found = []
    for index in range(count):
        shape = env.action_space.shape
        observation, *rest = env.step(np.full(shape, index % 2) if shape else index % 2)
        found.append(dynamic_values.to_messagepack({"all": [observation, *rest]}))
    return found


def in_play(env: Any, seed: int = 5, steps: int = 7) -> Any:
    """Begin an episode."""
    env.reset(seed=seed)
    played(env, steps)
    return env


TRANSPORTS: dict[str, dict[str, Any]] = {
    "socket": {"shared_memory": False},
    "memory": {"shared_memory": True},
    "netstring": {"protocol": "netstring", "shared_memory": False},
    "websocket": {"scheme": "ws://"},
}
#: Options of a server with little room.
LITTLE_ROOM = ("--max-sessions", "2", "--queue", "0", "--open-file-limit", "64", "--warm", "1")


@pytest.mark.parametrize(
    ("env_id", "transport"),
    [
        *((CARTPOLE, transport) for transport in TRANSPORTS),
        (PONG, "memory"),
        *(pytest.param(PONG, transport, marks=pytest.mark.sweep) for transport in TRANSPORTS if transport != "memory"),
    ],
)
def test_a_session_goes_on_from_a_snapshot(make: Make, env_id: str, transport: str) -> None:
    """As it did before, whatever was done meanwhile, as often as it is asked to, and after a reset, too.

    Of Pong the memory of its machine is observed, which tells all that a frame does.
    """
    steps, kwargs = (12, {}) if env_id == CARTPOLE else (STEPS, {"obs_type": "ram"})
    env = in_play(make(env_id, **TRANSPORTS[transport], **kwargs))
    here = env.snapshot()
    first = played(env, steps)
    env.restore(here)
    assert played(env, steps) == first
    env.reset(seed=8)
    env.restore(here)
    assert played(env, steps) == first
    here.release()
    assert played(in_play(env), steps) == first


def test_snapshots_of_one_another(make: Make) -> None:
    """Are independent: an earlier one can be restored after a later one, and the reverse."""
    env = in_play(make())
    with env.snapshot() as one:
        first = played(env, 4)
        with env.snapshot() as other:
            second = played(env, 4)
            for here, follows in ((one, first + second), (other, second), (one, first), (other, second)):
                env.restore(here)
                assert played(env, len(follows)) == follows


def test_random_numbers_of_every_kind(make: Make) -> None:
    """Go on as they did: those of the environment, and the generators of Python and NumPy that it shares."""
    env = in_play(make("Drawing-v0"))
    with env.snapshot() as here:
        first = played(env)
        env.restore(here)
        assert played(env) == first


@pytest.mark.parametrize("how", TRANSPORTS.values(), ids=TRANSPORTS)
def test_a_branch(make: Make, how: dict[str, Any]) -> None:
    """Is another session, which goes on from the snapshot as the first one did, and outlives it."""
    env = in_play(make(**how))
    here = env.snapshot()
    first = played(env, 12)
    with env.branch(here) as other, env.branch(here) as third:
        assert played(other, 5) == first[:5]
        with other.snapshot() as there, other.branch(there) as fourth:
            assert played(fourth, 7) == played(other, 7)
        env.close()
        assert played(third, 12) == first
        other.reset(seed=5)
        third.reset(seed=5)
        assert played(other, 3) == played(third, 3)


@pytest.mark.parametrize("by", [connect, partial(connect_vec, num_envs=3, processes=2)], ids=["one", "several"])
def test_what_converts_the_values_of_a_branch(make: Make, by: Any) -> None:
    """Is compiled while the server forks, for the spaces of its own that the server then describes."""
    env, other = make(by=by), make("FrozenLake-v1", by=by)
    env.reset(seed=5)
    with env.snapshot() as here:
        expected, wrong = here.branched(env._options), tuple(each.made for each in _sessions(other))
        for options in (expected, dataclasses.replace(expected, described=wrong)):
            with type(env)(options) as branch:
                used = [session.values._made for session in _sessions(branch)]
                assert (used == list(expected.described)) == (options is expected)
                assert branch.observation_space == env.observation_space
                assert branch.observation_space is not env.observation_space
                branch.reset(seed=1)
                branch.step(branch.action_space.sample())


@pytest.mark.parametrize("actions", [(0, 1), (1, 0)], ids=["float first", "integer first"])
def test_the_type_of_rewards_is_that_of_the_session_whose_branch_it_is(make: Make, actions: tuple[int, int]) -> None:
    """And not that of the branch's own first step."""
    env = make("Paying-v0")
    env.reset(seed=5)
    env.step(actions[0])
    with env.snapshot() as here, env.branch(here) as other:
        for action in (actions[1], 1):
            assert type(env.step(action)[1]) is type(other.step(action)[1])


def _sessions(env: Any) -> list[Any]:
    return [env._session] if hasattr(env, "_session") else env._sessions


def test_a_branch_of_what_is_not_held(server: ServerProcess, make: Make) -> None:
    """Is refused, also by its server, and so is one of another environment."""
    env = in_play(make())
    here = env.snapshot()
    other = make("Episodes-v0")
    with pytest.raises(RequestRefused, match="another make message"):
        other.branch(here)
    mark = server.mark()
    env.close()
    server.wait_for(rf"ended: the client left; {CARTPOLE}", since=mark)
    with pytest.raises(RequestRefused, match="no snapshot has this ticket") as caught:
        env.branch(here)
    assert caught.value.code == "unknown-snapshot"


def test_a_branch_counts_among_sessions(start_once: Start) -> None:
    """As any other, and its end makes room."""
    running = start_once(*LITTLE_ROOM)
    with connect(running.port, CARTPOLE) as env:
        in_play(env)
        here = env.snapshot()
        with env.branch(here), pytest.raises(RemoteError, match="full"):
            connect(running.port, CARTPOLE, connect_timeout=0.5)


def test_vectors(make: Make) -> None:
    """Are kept as a whole, whichever way one process steps them, and over several processes."""
    for mode, processes in (("sync", 1), ("vector_entry_point", 1), ("sync", 2)):
        envs = in_play(make(by=connect_vec, num_envs=4, vectorization_mode=mode, processes=processes))
        with envs.snapshot() as here:
            first = played(envs)
            envs.restore(here)
            assert played(envs) == first
            with envs.branch(here) as others:
                assert played(others) == first


def test_a_limit(make: Make) -> None:
    """Is not exceeded: the error names it and the remedy, and none is given up for another."""
    env = in_play(make())
    held = [env.snapshot() for _ in range(3)]
    with pytest.raises(RequestRefused, match=r"3 are allowed \(--max-snapshots\): release one first") as caught:
        env.snapshot()
    assert caught.value.code == "too-many-snapshots"
    held[1].release()
    env.restore(held[0])
    env.snapshot()


def test_snapshots_that_are_not_held(make: Make) -> None:
    """Cannot be restored, and the session goes on."""
    env, other = in_play(make()), in_play(make())
    with env.snapshot() as here, pytest.raises(RequestRefused, match="another environment"):
        other.restore(here)
    with pytest.raises(RequestRefused, match="released"):
        env.restore(here)
    played(env, 3)


def test_what_cannot_be_copied(make: Make) -> None:
    """Is refused beforehand, with the reason, and goes on."""
    envs = in_play(make(by=connect_vec, num_envs=2, vectorization_mode="async"))
    with pytest.raises(RequestRefused, match="it has processes of its own") as caught:
        envs.snapshot()
    assert caught.value.code == "snapshot-refused"
    played(envs, 3)
    env = in_play(make())
    env.monitor("snapshots", force=True)
    with pytest.raises(RequestRefused, match="are being recorded"):
        env.snapshot()
    env.monitor(None)
    env.snapshot().release()


def test_what_threads_do(make: Make) -> None:
    """Is found out by copies that are thrown away, and refused; the environment itself has not noticed."""
    environments = {"Threaded-v0": connect, "ALE/Pong-v5": partial(connect_vec, num_envs=2)}
    for name, by in environments.items():
        env = in_play(make(name, by=by))
        with pytest.raises(RequestRefused, match="crashes or does not answer, as when threads") as caught:
            env.snapshot()
        assert caught.value.code == "snapshot-refused"
        played(env, 3)


def test_what_copies_do_not_do_alike(make: Make) -> None:
    """Is a warning, and so is a file that they share."""
    env = in_play(make("Clock-v0"))
    with pytest.warns(UserWarning) as told:
        env.snapshot()
    texts = " ".join(str(each.message) for each in told)
    assert "share the file /tmp/clock-" in texts.replace(tempfile.gettempdir(), "/tmp")
    assert "did different things" in texts


def _process(server: ServerProcess, env: Any, since: int, env_id: str = "CartPole-v1") -> int:
    """Return the process of a session that has started since: on a busy machine others are still to be read of."""
    port = env._session.connection._link.getsockname()[1]
    return int(server.wait_for(rf"started: {env_id} .*:{port} \(int32, process (\d+)", since=since).group(1))


def _processes(server: ServerProcess, env: Any, since: int) -> tuple[int, list[int]]:
    """Return the leader of the processes of a session that has started since, and those below it, the oldest first."""
    leader = _process(server, env, since)
    eventually(lambda: len(descendants(leader)) == 2, PATIENCE, "a player and a frozen copy alone")
    return leader, sorted(descendants(leader))


def _living(leader: int) -> list[int]:
    """Return the processes below the leader that have not ended; a player reaps its copies at its next request."""
    return [each for each in descendants(leader) if command_line(each)]


@pytest.mark.parametrize("which", ["leader", "player", "copy"])
def test_a_process_that_is_killed(make: Make, server: ServerProcess, which: str) -> None:
    """Leaves none of the others behind, and the client gets an error or goes on."""
    since = server.mark()
    env = in_play(make(shared_memory=False))
    here = env.snapshot()
    env.restore(here)  # what was the frozen copy plays, and has forked another one
    leader, (player, copy) = _processes(server, env, since)
    led, copied, played_by = hold([leader, copy, player])
    os.kill({"leader": leader, "player": player, "copy": copy}[which], signal.SIGKILL)
    if which == "copy":
        assert not left_after([copied], PATIENCE)
        played(env, 3)
        with pytest.raises(RequestRefused, match="its process has ended"):
            env.restore(here)
        env.close()
    assert not left_after([led, played_by, copied], PATIENCE)
    if which != "copy":
        with pytest.raises(RemoteError):
            played(env, 3)


def test_a_crash_goes_back_to_the_last_snapshot(make: Make) -> None:
    """If the client wants that, as often as need be; it keeps as many as the client wants, and gives up the oldest."""
    env = make("Crashing-v0", keep_snapshots=2)
    env.reset()
    held = []
    for _ in range(3):
        env.step(0)
        held.append(env.snapshot())
    for _ in range(2):
        played(env, 2)
        env.step(0)
        with pytest.raises(
            EnvironmentFailed, match="killed by SIGSEGV in step: it is again as in snapshot 3"
        ) as caught:
            env.step(1)
        assert not caught.value.reset_needed
        assert env.step(0)[4]["steps"] == 4
        env.restore(held[2])
    env.restore(held[1])
    assert env.step(0)[4]["steps"] == 3
    with pytest.raises(RequestRefused, match="snapshot 1 is not held"):
        env.restore(held[0])


def test_a_crash_right_after_a_snapshot(make: Make, server: ServerProcess) -> None:
    """Goes back to it, even if the leader learns of all at once."""
    since = server.mark()
    env = make("Crashing-v0", keep_snapshots=5, shared_memory=False)
    env.reset()
    env.snapshot()
    for _ in range(5):
        env.step(0)
    leader = _process(server, env, since, "Crashing-v0")
    os.kill(leader, signal.SIGSTOP)
    for _ in range(2):
        env.snapshot()
    env.send(1)
    eventually(lambda: len(_living(leader)) == 3, PATIENCE, "the three frozen copies alone")
    os.kill(leader, signal.SIGCONT)
    with pytest.raises(EnvironmentFailed, match="it is again as in snapshot 3"):
        env.recv()


def test_a_snapshot_beside_a_branch(make: Make) -> None:
    """A process that was restored may have branches below it, which are not the environment's own processes."""
    env = in_play(make())
    here = env.snapshot()
    with env.branch(here) as other, env.branch(here):
        env.restore(here)
        with env.snapshot() as later:
            assert played(other, 5) == played(env, 5)
            env.restore(later)
        env.restore(here)
        env.snapshot()
    env.snapshot()


def test_actions_that_are_drawn_are_the_same(make: Make) -> None:
    """Also if the action space had no generator yet when the snapshot was taken."""
    env = make("CartPole-v1")
    env.reset(seed=5)
    here = env.snapshot()
    drawn = []
    for _ in range(3):
        drawn.append([int(env.sample()) for _ in range(40)])
        env.restore(here)
    assert drawn[0] == drawn[1] == drawn[2]


def test_a_crash_without_that(make: Make) -> None:
    """Takes the snapshots along, and of the fresh environment others can be taken: as many as are allowed."""
    env = make("Crashing-v0")
    env.reset()
    held = [env.snapshot() for _ in range(3)]
    for _ in range(6):
        env.step(0)
    with pytest.raises(EnvironmentFailed, match="killed by SIGSEGV"):
        env.step(1)
    env.reset()
    with pytest.raises(RequestRefused, match="holds no snapshot"):
        env.restore(held[0])
    with pytest.raises(RequestRefused, match="no snapshot has this ticket"):
        env.branch(held[0])
    env.reset()
    fresh = [env.snapshot() for _ in range(3)]
    env.step(0)
    env.restore(fresh[0])
    assert env.step(0)[4]["steps"] == 1


def test_snapshots_of_snapshots(make: Make, server: ServerProcess) -> None:
    """However long the chain is, no process has more open files than the one before."""
    since = server.mark()
    env = in_play(make(shared_memory=True))
    counts = []
    for _ in range(6):
        with env.snapshot() as here:
            env.restore(here)
        played(env, 1)
        leader = _process(server, env, since)
        eventually(lambda leader=leader: len(_living(leader)) == 1, PATIENCE, "a player alone")  # type: ignore[misc]
        counts.append(len(descriptors(*_living(leader))))
    assert counts[-1] <= counts[0]


def test_a_snapshot_does_not_hold_the_connection(make: Make, server: ServerProcess) -> None:
    """While its process sleeps, so that the client hears of the end when the others close it."""
    since = server.mark()
    env = in_play(make(shared_memory=False))
    with env.snapshot() as here:
        leader = _process(server, env, since)
        player, copy = sorted(descendants(leader))

        def connections(process: int) -> set[str]:
            return {each for each in descriptors(process) if each.startswith("socket:")}

        both = connections(leader) & connections(player)
        assert len(both) == 1
        eventually(lambda: not both & connections(copy), PATIENCE, "a copy without the client's connection")
        env.restore(here)
        assert played(env, 1)


def test_open_files_of_a_leader(start_once: Start) -> None:
    """Bound the number of snapshots: the error names the option, and the session goes on."""
    running = start_once(*LITTLE_ROOM)
    with connect(running.port, CARTPOLE) as env:
        in_play(env)
        held: list[Any] = []
        with pytest.raises(RequestRefused, match=r"no more files \(--open-file-limit\): release one first") as caught:
            while len(held) < 64:
                held.append(env.snapshot())
        assert caught.value.code == "too-many-snapshots"
        env.restore(held[-1])
        held[0].release()
        env.snapshot()


def test_what_a_branch_does_not_share(make: Make, server: ServerProcess) -> None:
    """It lets go of the memory that the other session shares with its client."""
    env = in_play(make(shared_memory=True))
    branches, since = tuple(env.snapshot().tickets), server.mark()
    with type(env)(dataclasses.replace(env._options, branches=branches, shared_memory=False)) as other:
        assert not [each for each in descriptors(_process(server, other, since)) if "gymtwist-shared" in each]


def test_the_memory_of_a_branch(make: Make, server: ServerProcess) -> None:
    """Is that of its own session, although its process is below that of the other one."""
    since = server.mark()
    env = in_play(make())
    here, first = env.snapshot(), _process(server, env, since)
    since = server.mark()
    with env.branch(here) as other:
        branch = _process(server, other, since)
        memory = SessionMemory()
        assert branch in memory.measure(first).started
        memory.others = {branch}
        assert branch not in memory.measure(first).started


def test_the_processor_time_of_a_branch(make: Make, server: ServerProcess) -> None:
    """Is that of its own session, and not of the one that it comes from."""
    since = server.mark()
    env = make("Working-v0")
    env.reset()
    origin = int(server.wait_for(r"started: Working-v0 .*, process (\d+)", since=since).group(1))
    since = server.mark()
    here = env.snapshot()
    before = used_by(origin, with_children=True)[1]
    with env.branch(here) as other:
        other.step(1)
    server.wait_for("ended: the client left; Working-v0", since=since)
    assert used_by(origin, with_children=True)[1] < before + 0.5


def test_a_server_that_ends(start: Start) -> None:
    """Takes all processes along, even if it is killed."""
    running = start("--warm", "1")
    env = in_play(connect(running.port, CARTPOLE))
    env.snapshot()
    handles = hold(running.descendants())
    running.process.kill()
    assert not left_after(handles, PATIENCE)
    env.close()


def test_fresh_processes(start: Start) -> None:
    """Have snapshots as forked ones do."""
    running = start("--start-method", "spawn", "--warm", "0")
    with connect(running.port, CARTPOLE) as env:
        in_play(env)
        here = env.snapshot()
        first = played(env, 5)
        env.restore(here)
        assert played(env, 5) == first
        with env.branch(here) as other:
            env.close()
            assert played(other, 5) == first

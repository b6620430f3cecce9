"""A control group for each session, where one is delegated to the server.

``systemd-run --scope --property Delegate=yes`` starts the tests in such a group; elsewhere they are skipped.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from twisted.internet.task import Clock

import gymtwist.client
from gymtwist.server import control_groups
from gymtwist.worker.worker_settings import WorkerSettings
from gymtwist_conformance.reference_client import INT32, Failed, FramedClient
from tests.conftest import Start
from tests.support.identity_files import write_identities
from tests.support.patience import PATIENCE
from tests.support.process_inspection import descendants, hold, left_after
from tests.support.server_process import ENVIRONMENTS, ServerProcess, connected, run_twistd
from tests.support.upgrades import generations

SETUP = Path(__file__).parents[1] / "support" / "attacks.py"
MEBIBYTE = 2**20
MEMORY, PROCESSES = 512, 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose sessions must have control groups."""
    skip_unless_delegated()
    directory = tmp_path_factory.mktemp("server")
    both = directory / "both.py"
    both.write_text("".join(f"import runpy\nrunpy.run_path({str(each)!r})\n" for each in (SETUP, ENVIRONMENTS)))
    limits = ("--memory-limit", str(MEMORY), "--process-limit", str(PROCESSES))
    with ServerProcess(directory, "--cgroups", "on", *limits, "--warm", "1", setup=both) as running:
        yield running


def skip_unless_delegated() -> None:
    """Skip a test where this process may not make control groups."""
    found = str(control_groups.prepare(Clock(), "auto"))
    if found.startswith("no "):
        pytest.skip(found)


def opened(server: ServerProcess, stack: ExitStack, environment: str = "Attack-v0", **options: Any) -> FramedClient:
    """Begin a session."""
    mark = server.mark()
    client = stack.enter_context(FramedClient(connected(("127.0.0.1", server.port)), INT32))
    server.note(client, mark)
    client.make(environment, **options)
    return client


def group_of(process: int) -> Path:
    """Return the control group of a process."""
    return Path(f"/sys/fs/cgroup{Path(f'/proc/{process}/cgroup').read_text().strip().rpartition('::')[2]}")


def wait_gone(path: Path) -> None:
    """Wait until a control group is removed."""
    deadline = time.monotonic() + PATIENCE
    while path.exists():
        assert time.monotonic() < deadline, f"{path} is still there: {(path / 'cgroup.procs').read_text().split()}"
        time.sleep(0.02)


def test_each_session_has_a_group_with_its_limits(server: ServerProcess) -> None:
    """The server and the fork server are in another one, and what a session starts is in its own."""
    with ExitStack() as stack:
        sessions = [server.session(opened(server, stack, "CartPole-v1")).process for _ in range(2)]
        groups = [group_of(each) for each in sessions]
        assert [each.name.rpartition("-")[0] for each in groups] == [f"session-{each}" for each in sessions]
        for each in groups:
            assert int((each / "memory.max").read_text()) == MEMORY * MEBIBYTE
            assert int((each / "pids.max").read_text()) == PROCESSES
            assert (each / "memory.oom.group").read_text() == "1\n"
        own = group_of(server.process.pid)
        assert own == group_of(server.fork_server()) == groups[0].parent / "server"
        assert not (own.parent / "cgroup.procs").read_text()
    for each in groups:
        wait_gone(each)
    server.wait_for(r"Isolation of sessions: limits \(--isolate\); each in a control group \(memory, pids")


def test_memory_of_all_processes_of_a_session_is_limited(server: ServerProcess) -> None:
    """The kernel kills the session's processes together; its client is told why, and others do not notice."""
    with ExitStack() as stack:
        other = opened(server, stack, "CartPole-v1")
        other.reset()
        client = opened(server, stack, "Fault/Hoard-v0", num_envs=6, vectorization_mode="async")
        group, processes = group_of(server.session(client).process), hold(descendants(server.session(client).process))
        mark = server.mark()
        with pytest.raises(Failed, match=r"out of memory in \w+; .*512 MiB together .*: reset") as caught:
            client.reset()  # it may fail already
            while True:
                client.step(np.zeros(6, np.int64))
        assert caught.value.reset_needed
        assert not left_after(processes, PATIENCE)
        wait_gone(group)
        other.step(0)
        server.wait_for(r"crashed: .* \(the environment ran out of memory in \w+; .*512 MiB", since=mark)


def test_files_in_memory_count(server: ServerProcess) -> None:
    """Also those that no process has mapped."""
    with ExitStack() as stack:
        client = opened(server, stack, "Fault/Share-v0")
        client.reset()
        with pytest.raises(Failed, match=r"out of memory in step; .* 512 MiB together .*: reset"):
            client.step(0)
        client.reset()


def test_processes_of_a_session_are_limited(server: ServerProcess) -> None:
    """Those of root, too; other sessions start theirs."""
    with ExitStack() as stack:
        client, other = opened(server, stack), opened(server, stack)
        tried = client.reset(options={"attack": "start-processes", "count": PROCESSES})[1]
        assert "Resource temporarily unavailable" in tried["prevented"]
        assert not other.reset(options={"attack": "start-processes", "count": PROCESSES // 2})[1]["prevented"]
        assert not client.reset(options={"attack": "list-descriptors"})[1]["prevented"]


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_nothing_outlives_a_session_that_crashes(start: Start, tmp_path: Path, method: str) -> None:
    """Without a fork server nobody else would find a process that has left the session's group of processes."""
    skip_unless_delegated()
    server = start("--cgroups", "on", "--start-method", method, "--warm", "1", setup=SETUP)
    with ExitStack() as stack:
        client = opened(server, stack)
        process = server.session(client).process
        left = group_of(process)
        with pytest.raises(Failed, match="SIGKILL"):
            client.reset(options={"attack": "leave-process-and-die"})
        wait_gone(left)


def test_a_late_removal_spares_another_worker_with_the_same_process_id() -> None:
    """What a worker has left may take long to end, so the kernel may use its process id again before that."""
    skip_unless_delegated()
    groups = control_groups.prepare(Clock(), "auto")
    with subprocess.Popen(["sleep", "infinity"]) as worker:
        earlier, later = groups.of(worker.pid, 1), groups.of(worker.pid, 2)
        assert earlier is not None and later is not None
        try:
            earlier.enter(WorkerSettings(monitor_root="/"))
            later.enter(WorkerSettings(monitor_root="/"))
            assert earlier.remove()
            assert worker.poll() is None
            left = group_of(worker.pid)
            assert left.name == f"session-{worker.pid}-2"
        finally:
            worker.kill()
    assert later.remove()
    assert not left.exists()


def test_an_identity_has_its_own_limit(start: Start, tmp_path: Path) -> None:
    """The lower one counts."""
    skip_unless_delegated()
    path, tokens = write_identities(tmp_path, carol="memory-limit = 256")
    server = start("--cgroups", "on", "--identities", path, "--memory-limit", str(MEMORY))
    with gymtwist.client.connect(server.port, "CartPole-v1", token=tokens["carol"]):
        process = int(server.wait_for(r"\[session 1\] started: .* process (\d+)").group(1))
        assert int((group_of(process) / "memory.max").read_text()) == 256 * MEBIBYTE


def test_a_session_of_a_snapshot_has_a_group_of_its_own(server: ServerProcess) -> None:
    """It goes on when the session that has made the snapshot has ended."""
    with gymtwist.client.connect(server.port, "CartPole-v1") as env:
        env.reset(seed=1)
        here = env.snapshot()
        mark = server.mark()
        with env.branch(here) as branched:
            process = int(server.wait_for(r"\] started: .* process (\d+)", since=mark).group(1))
            branched.step(0)
            deadline = time.monotonic() + PATIENCE
            while not group_of(process).name.startswith(f"session-{process}-"):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            env.close()
            branched.step(0)


def test_the_process_of_an_upgrade_makes_groups_beside_those_of_the_old_one(start: Start, tmp_path: Path) -> None:
    """Both go on, and each removes its own."""
    skip_unless_delegated()
    server = start("--cgroups", "on", "--control", str(tmp_path / "control"), directory=tmp_path)
    with generations(server) as held, gymtwist.client.connect(server.port, "CartPole-v1") as old:
        old.reset(seed=1)
        (before,) = [group_of(row["process"]) for row in held.read("sessions")]
        held.upgrade()
        with gymtwist.client.connect(server.port, "CartPole-v1") as new:
            new.reset(seed=1)
            (after,) = [group_of(row["process"]) for row in held.read("sessions")]
            old.step(0)
            assert (before.parent, before != after) == (after.parent, True)
            old.close()
            wait_gone(before)
            new.step(0)
        wait_gone(after)


def test_a_server_that_needs_groups_and_has_none_does_not_start(tmp_path: Path) -> None:
    """It says what to do; here the file system of control groups is hidden."""
    found = str(control_groups.prepare(Clock(), "auto"))
    if not found.startswith("no "):
        pytest.skip("a control group is delegated to this process")
    ended = run_twistd("-n", "--pidfile=", "gymsock", "--port", "0", "--cgroups", "on", directory=tmp_path)
    if not ended.returncode:
        pytest.skip("root may make control groups here")
    assert re.search(r"gymsock cannot start: --cgroups on needs .*Delegate=yes", ended.stdout)

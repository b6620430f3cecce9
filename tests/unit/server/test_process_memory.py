"""What the processes of a session hold together, measured of real ones."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from gymtwist.server.process_memory import SessionMemory
from tests.support.patience import PATIENCE
from tests.support.process_inspection import hold

MEBIBYTE = 2**20
#: What an interpreter, or the pages that a process writes to, may add.
SLACK = 40 * MEBIBYTE
#: Holds 200 MiB and starts a process that holds 50 more; tells its number, and waits.
PROGRAM = """
import os, subprocess, sys, time
hoard = b"1" * (200 << 20)
child = "hoard = b'1' * (50 << 20); print('ready', flush=True); input()"
if sys.argv[1] == "another program":
    process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE)
    process.stdout.readline()
    pid = process.pid
else:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        more = b"1" * (50 << 20)
        os.write(writer, b"1")
        time.sleep(1000)
    os.read(reader, 1)
print(pid, flush=True)
input()
os.kill(pid, 9)
"""


@pytest.mark.parametrize("kind", ["a fork", "another program"])
def test_what_processes_share_is_counted_once(kind: str) -> None:
    """What a forked one has besides is counted, and all of another program."""
    words = [sys.executable, "-c", PROGRAM, kind]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        memory = SessionMemory()
        for _ in range(2):  # what was seen first is remembered
            held, own, started = memory.measure(parent.pid)
            assert started == [child]
            assert 200 * MEBIBYTE < own < 200 * MEBIBYTE + SLACK
            assert 245 * MEBIBYTE < held < 250 * MEBIBYTE + SLACK
        parent.stdin.write(b"\n")
    assert SessionMemory().measure(parent.pid) == (0, 0, [])


#: Fills 200 MiB of shared memory; a forked process reads 50 of it, tells its number and waits.
SHARING = """
import mmap, os, time
shared = mmap.mmap(-1, 200 << 20)
for page in range(0, 200 << 20, 4096):
    shared[page] = 1
if os.fork() == 0:
    sum(shared[page] for page in range(0, 50 << 20, 4096))
    print(os.getpid(), flush=True)
    time.sleep(1000)
input()
"""


def test_shared_memory_is_counted_in_each_process_that_has_used_it() -> None:
    """No limit of the kernel's holds for it; and over the limit all are killed, as it remains while one has it."""
    exceeded: list[bool] = []
    with subprocess.Popen([sys.executable, "-c", SHARING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        held, own, started = SessionMemory().enforce(parent.pid, 400 * MEBIBYTE, lambda: exceeded.append(True))
        assert started == [child]
        assert 200 * MEBIBYTE < own < 200 * MEBIBYTE + SLACK
        assert 250 * MEBIBYTE < held < 250 * MEBIBYTE + SLACK
        assert not exceeded
        SessionMemory().enforce(parent.pid, 150 * MEBIBYTE, lambda: exceeded.append(parent.poll() is None))
        assert parent.wait() == -signal.SIGKILL
    assert exceeded == [True]


def test_processes_that_together_hold_too_much_are_killed() -> None:
    """But not the worker, which alone does not."""
    words = [sys.executable, "-c", PROGRAM, "another program"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        (handle,) = hold([int(parent.stdout.readline())])
        SessionMemory().enforce(parent.pid, 240 * MEBIBYTE, lambda: None)
        assert handle.wait(PATIENCE)
        assert parent.poll() is None
        parent.kill()

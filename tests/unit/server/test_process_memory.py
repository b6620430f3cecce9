"""What the processes of a session hold together, measured of real ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gymtwist.server.process_memory import SessionMemory

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
            held, started = memory.measure(parent.pid)
            assert started == [child]
            assert 245 * MEBIBYTE < held < 250 * MEBIBYTE + SLACK
        parent.stdin.write(b"\n")
    assert SessionMemory().measure(parent.pid) == (0, [])

"""How much memory snapshots have: the same on every machine, however busy it is."""

from __future__ import annotations

import statistics

from gymtwist.client import connect
from tests.support.process_inspection import descendants, private
from tests.support.server_process import ServerProcess

OPTIONS = ("--debuggable", "--max-snapshots", "20")
#: Bytes. Each page that is written to from one snapshot to the next is copied, and most hold counts of references: so
#: this grows with the functions, classes and constants that serve a snapshot and a step.
MOST = 1.52e6


def test_the_memory_of_a_snapshot(server: ServerProcess) -> None:
    """Is no more than it was, once the next one has been taken, with a step between."""
    since = server.mark()
    with connect(f"127.0.0.1:{server.port}", "CartPole-v1") as env:
        env.reset(seed=1)
        for action in range(8):
            env.step(action % 2)
        env.snapshot().release()
        held = []
        for action in range(12):
            held.append(env.snapshot())
            env.step(action % 2)
        leader = server.wait_for(r"started: CartPole-v1 .*\(int32, process (\d+)", since=since).group(1)
        assert statistics.median(private(each) for each in descendants(int(leader))) <= MOST

"""A soak: a server, a crowd, witnesses, and a sample of what the server costs every few seconds."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import subprocess
import time
from contextlib import ExitStack
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from gymtwist_benchmarks import machine
from tests.support.server_process import REPOSITORY, ServerProcess
from tools.soak.crowds import LASTING, run_crowd, run_witnesses
from tools.soak.journal import Journal, Orders
from tools.soak.protocol_players import SERVER_SEED
from tools.soak.server_sampling import MARK, ServerSampler, processor_seconds

#: Seconds between samples, and the most between lulls: times without clients, but for those that last.
_EVERY, _LULL = 10.0, 600.0
#: Seconds that the server may take in a lull until nothing is left of the sessions; its own timeouts are among them.
_QUIET = 150.0
#: Seconds that a lull takes at least: longer than the server keeps the memory of a live view that nobody watches.
_SETTLED = 20.0
#: Limits of pauses in seconds.
_PAUSES = (0.05, 60.0)
_OPTIONS = (
    *("--seed", str(SERVER_SEED), "--max-sessions", "64", "--queue", "16", "--max-handshakes-per-address", "128"),
    *("--step-timeout", "15", "--leave-timeout", "5", "--idle-timeout", "30", "--memory-limit", "1024"),
)


class SoakRun:
    """A soak in a directory.

    Args:
        directory: For the journal and what the server writes.
        minutes: How long it takes.
        load: How many cores the server and all clients may use together, on average.
        seed: Of everything that is drawn.
    """

    def __init__(self, directory: Path, minutes: float, load: float, seed: int) -> None:
        self._seconds, self._load = minutes * 60, load
        self._scratch = directory / "scratch"
        self._scratch.mkdir(parents=True)
        context = multiprocessing.get_context("spawn")
        journal, mark = Journal(directory / "journal", time.monotonic()), secrets.token_hex(8)
        lull, stop = context.Event(), context.Event()
        with ExitStack() as stack:  # no server is left if something fails
            changes = {"TMPDIR": str(self._scratch), MARK: mark}
            self._server = stack.enter_context(ServerProcess(directory, *_OPTIONS, changes=changes))
            self._orders = Orders(self._server.port, seed, journal, lull, stop, context.Value("d", 2.0))
            self._server.wait_for("To stop: kill")
            process = self._server.process.pid
            self._sampler = ServerSampler(process, self._server.fork_server(), self._orders.port, mark, self._scratch)
            stack.pop_all()
        self._clients: list[SpawnProcess] = [
            context.Process(target=work, args=(self._orders,)) for work in (run_crowd, run_witnesses)
        ]
        self._used: tuple[float, float] | None = None

    def run(self) -> None:
        """Run it; what came of it is in the journal."""
        orders = self._orders
        about = {"minutes": self._seconds / 60, "load": self._load, "seed": orders.seed, "options": _OPTIONS}
        try:
            orders.journal.write("begin", commit=_commit(), machine=machine.describe(), **about)
            for process in self._clients:
                process.start()
            self._sample_until_end()
        finally:
            self._end()

    def _sample_until_end(self) -> None:
        journal, between = self._orders.journal, min(_LULL, self._seconds / 6)
        next_lull = between
        while (now := journal.now()) < self._seconds:
            if now >= next_lull:
                self._lull()
                next_lull += between
            else:
                self._sample()
            time.sleep(_EVERY)
        self._lull()

    def _sample(self) -> None:
        """Write what the server costs now, and how busy the whole machine is."""
        loads = {"used": self._adapt(), "machine_load": round(os.getloadavg()[0], 2)}
        pause = round(self._orders.pause.value, 2)
        self._orders.journal.write("sample", pause=pause, **loads, **self._sampler.sample())

    def _adapt(self) -> float:
        """Change the pauses so that the load comes near to the one that is wanted; return the one since last time."""
        seconds = time.process_time() + self._sampler.processor_time()
        seconds += sum(processor_seconds(process.pid or 0) for process in self._clients)
        now, before = time.monotonic(), self._used
        self._used = now, seconds
        if before is None:
            return 0.0
        used = max(0.0, seconds - before[1]) / (now - before[0])
        with self._orders.pause.get_lock():
            wanted = self._orders.pause.value * min(1.5, max(0.7, used / self._load))
            self._orders.pause.value = min(_PAUSES[1], max(_PAUSES[0], wanted))
        return round(used, 4)

    def _lull(self) -> None:
        """Have the clients pause, wait until nothing is left of their sessions, and sample the quiet server."""
        begin, orders = time.monotonic(), self._orders
        orders.lull.set()
        while not (quiet := self._is_quiet()) and time.monotonic() < begin + _QUIET:
            time.sleep(1)
        time.sleep(max(1.0, begin + _SETTLED - time.monotonic()))
        left = {} if quiet else self._sampler.marked()
        seconds, marked = round(time.monotonic() - begin, 1), len(self._sampler.marked())
        orders.journal.write("lull", quiet=quiet, seconds=seconds, marked=marked, left=left, **self._sampler.sample())
        orders.lull.clear()
        self._used = None

    def _is_quiet(self) -> bool:
        """Tell whether only the lasting sessions are left, and the processes that belong to them and to the server."""
        counted = self._sampler.counted()
        if counted["sessions"] != len(LASTING) or counted["connections"] > len(LASTING) + 1:
            return False
        expected = 2 + 4 + len(LASTING)  # the server, the fork server, idle workers, and those of the sessions
        return len(self._sampler.marked()) == expected

    def _end(self) -> None:
        """Stop everything; write what is left, and the server's own errors."""
        journal = self._orders.journal
        self._orders.stop.set()
        for process in self._clients:
            if process.pid is None:  # it could not be started
                continue
            process.join(180)
            if process.is_alive():
                journal.write("fault", what="clients did not end", text=process.name)
                process.kill()
        complaints = self._server.complaints()
        outlived = [str(each) for each in self._server.stop()]
        (self._scratch.parent / "server.log").write_text("\n".join(self._server.lines))
        left: dict[str, Any] = {"outlived": outlived, "marked": self._sampler.marked()}
        journal.write("end", complaints=complaints[:20], scratch=len(list(self._scratch.iterdir())), **left)


def _commit() -> str:
    """Name the commit of the sources; a changed tree has a plus sign."""
    words = ["git", "describe", "--always", "--exclude=*", "--dirty=+", "--abbrev=10"]
    try:
        return subprocess.run(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

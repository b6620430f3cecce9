"""Notes when what happens in a session's process: for ``twistd gymsock --setup``, see :mod:`parts`."""

from __future__ import annotations

import json
import os
import statistics
from time import perf_counter
from typing import Any

from gymtwist.worker.environment_runner import EnvironmentRunner
from gymtwist.worker.framed_session import FramedSession
from gymtwist.worker.shared_memory_transport import SharedMemoryTransport
from gymtwist.worker.transports import SocketTransport
from gymtwist.worker.vector_environment_runner import VectorEnvironmentRunner

#: A JSON object: the file where the result goes, and how many steps are not counted before.
_VARIABLE = "GYMTWIST_PARTS"

_received: list[float] = []
_asked: list[float] = []
_environment: list[float] = []


def _watch(kind: Any) -> None:
    init = kind.__init__

    def timed(self: Any, *arguments: Any) -> None:
        init(self, *arguments)
        step = self._step

        def environment(action: Any) -> Any:
            begun = perf_counter()
            try:
                return step(action)
            finally:
                _environment.append(perf_counter() - begun)

        self._step = environment

    kind.__init__ = timed


def _listen(kind: Any) -> None:
    receive = kind.receive

    def timed(self: Any) -> Any:
        _asked.append(perf_counter())
        found = receive(self)
        _received.append(perf_counter())
        return found

    kind.receive = timed


def _report(kind: Any) -> None:
    run = kind.run

    def reported(self: Any) -> str:
        reason: str = run(self)
        # From when a request was seen to when the next one was asked for.
        busy = [asked - received for received, asked in zip(_received, _asked[1:], strict=False)]
        wishes = json.loads(os.environ[_VARIABLE])
        with open(wishes["file"] + ".part", "w") as file:
            json.dump([statistics.median(each[wishes["warm"] :]) for each in (_environment, busy)], file)
        os.rename(file.name, wishes["file"])
        return reason

    kind.run = reported


_report(FramedSession)
for each in (EnvironmentRunner, VectorEnvironmentRunner):
    _watch(each)
for channel in (SocketTransport, SharedMemoryTransport):
    _listen(channel)

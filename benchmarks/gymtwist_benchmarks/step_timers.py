"""Time the parts of a step in a session's process: a setup file of gymtwist's server, for :mod:`step_profile`."""

from __future__ import annotations

import json
import os
import statistics
from time import perf_counter
from typing import Any

from gymtwist.worker.environment_runner import BaseRunner
from gymtwist.worker.framed_adapter import FramedAdapter
from gymtwist.worker.shared_memory_transport import SharedMemoryTransport
from gymtwist.worker.transports import FrameTransport

#: An environment variable with a JSON object: the file of the result, and how many steps are not counted.
_VARIABLE = "GYMTWIST_STEP_TIMERS"

_received: list[float] = []
_asked: list[float] = []
_environment: list[float] = []


def _time_steps(kind: Any) -> None:
    usual_step = kind._usual_step

    def timed(self: Any) -> Any:
        step = usual_step(self)

        def environment(action: Any) -> Any:
            begun = perf_counter()
            try:
                return step(action)
            finally:
                _environment.append(perf_counter() - begun)

        return environment

    kind._usual_step = timed


def _time_requests(kind: Any) -> None:
    receive = kind.receive

    def timed(self: Any) -> Any:
        _asked.append(perf_counter())
        found = receive(self)
        _received.append(perf_counter())
        return found

    kind.receive = timed


def _write_at_end(kind: Any) -> None:
    close = kind.close

    def reported(self: Any) -> None:
        close(self)
        # From when a request was seen to when the next one was asked for.
        busy = [asked - received for received, asked in zip(_received, _asked[1:], strict=False)]
        settings = json.loads(os.environ[_VARIABLE])
        with open(settings["file"] + ".part", "w") as file:
            json.dump([statistics.median(each[settings["warm"] :]) for each in (_environment, busy)], file)
        os.rename(file.name, settings["file"])

    kind.close = reported


_write_at_end(FramedAdapter)
_time_steps(BaseRunner)
for transport in (FrameTransport, SharedMemoryTransport):
    _time_requests(transport)

"""A client of the classic protocol that plays at whichever server speaks it. It needs nothing but Python's library."""

from __future__ import annotations

import json
import struct
from typing import Any

import classic

from compare.driving import Player, SinglePlayer
from compare.workloads import Workload

_UINT32 = struct.Struct("<I")


class Client(classic.Client):
    """The lean client of ``benchmarks/classic.py``, which also takes the observation out of a reply."""

    def observe(self) -> Any:
        """Begin an episode; return its first observation."""
        self.reset()
        return self._observation()

    def take(self, command: bytes) -> tuple[Any, bool]:
        """Take a step; return the observation, and whether the episode has ended."""
        ended = self.step(command)
        return self._observation(), ended

    def _observation(self) -> Any:
        """Take the observation out of the buffer: decoded from JSON, or the bytes of a frame."""
        view = self._view
        data = view[5 : 5 + _UINT32.unpack_from(view, 1)[0]]
        return bytes(data) if view[0] else json.loads(bytes(data))


def connect(address: str, workload: Workload) -> Player:
    """Connect to a server of the classic protocol on this machine."""
    client = Client(int(address.rpartition(":")[2]), workload.environment)
    return SinglePlayer(workload, client.observe, client.take, client.close, classic.step_command)

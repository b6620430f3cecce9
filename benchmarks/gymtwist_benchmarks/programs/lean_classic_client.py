"""The lean client of the classic protocol, the same for every server of it."""

from __future__ import annotations

from gymtwist_benchmarks.programs.driver import Player, SinglePlayer
from gymtwist_benchmarks.protocol_clients import LeanClassicClient
from gymtwist_benchmarks.workloads import Workload


def connect(address: str, workload: Workload) -> Player:
    """Connect to a server on this machine."""
    client = LeanClassicClient(int(address.rpartition(":")[2]), workload.environment)
    return SinglePlayer(workload, client.reset, client.step, client.close)

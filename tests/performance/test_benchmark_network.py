"""The network with delay is one: packets take their time; and what is compared over it plays the same game."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from gymtwist.client import connect
from gymtwist_benchmarks.network_path import carry
from tests.support.server_process import ServerProcess

_DELAY = 0.02


@contextmanager
def carried(rate: float = 0.0) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield the ends of a path between two sockets that stand for tunnels: they have packets, too."""
    forking = multiprocessing.get_context("fork")
    with ExitStack() as stack:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
        for each in (*pairs[0], *pairs[1]):
            stack.enter_context(each)
        for _, tunnel in pairs:
            tunnel.setblocking(False)
        carrier = forking.Process(
            target=carry, args=(pairs[0][1].fileno(), pairs[1][1].fileno(), _DELAY, rate), daemon=True
        )
        carrier.start()
        stack.callback(carrier.join)
        stack.callback(carrier.kill)
        yield pairs[0][0], pairs[1][0]


def test_a_packet_arrives_after_the_delay_in_either_direction() -> None:
    """As it was sent, and not before its time."""
    with carried() as (here, there):
        for source, target in ((here, there), (there, here)):
            start = time.perf_counter()
            source.send(b"packet")
            assert target.recv(100) == b"packet"
            assert time.perf_counter() - start >= _DELAY


def test_packets_of_a_link_with_a_rate_follow_each_other() -> None:
    """Each takes the time of its bits, in the order in which they were sent."""
    bits, rate = 8_000, 4e5
    with carried(rate) as (here, there):
        start = time.perf_counter()
        for number in range(3):
            here.send(bytes([number]) * (bits // 8))
        for number in range(3):
            assert there.recv(bits)[0] == number
            assert time.perf_counter() - start >= (number + 1) * bits / rate + _DELAY


@pytest.mark.slow
def test_preprocessing_at_the_client_observes_what_that_at_the_server_does(server: ServerProcess) -> None:
    """So that the benchmark compares the same game; but for the actions after a reset, which are drawn at random."""
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    from gymtwist_benchmarks.programs.preprocessed_atari import WRAPPERS, preprocess

    wrappers = [(name, {**kwargs, **({"noop_max": 0} if "noop_max" in kwargs else {})}) for name, kwargs in WRAPPERS]
    asked = [{"name": name, "kwargs": kwargs} for name, kwargs in wrappers]
    with (
        connect(server.port, "ALE/Pong-v5", wrappers=asked, frameskip=1) as there,
        connect(server.port, "ALE/Pong-v5", frameskip=1, obs_type="grayscale") as raw,
    ):
        here = preprocess(raw, wrappers)
        assert here.observation_space == there.observation_space
        np.testing.assert_array_equal(here.reset(seed=5)[0], there.reset(seed=5)[0])
        for action in np.random.default_rng(5).integers(6, size=100):
            mine, its = here.step(action), there.step(action)
            np.testing.assert_array_equal(mine[0], its[0])
            assert mine[1:4] == its[1:4]

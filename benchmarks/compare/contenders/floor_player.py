"""As many bytes there and back as a step of gymtwist has, and nothing else: no environment, and nothing is decoded."""

from __future__ import annotations

import os
import socket

from compare.driving import Player, main
from compare.servers.floor_server import SIZES, receive
from compare.workloads import Workload

#: Bytes of a request and of its usual reply, as the Python client of gymtwist and its server exchange them.
STEP_SIZES = {
    "cartpole": (30, 82),
    "cartpole-1": (30, 87),
    "cartpole-8": (86, 269),
    "cartpole-64": (535, 1_727),
    "cartpole-1024": (8_215, 26_689),
    "pong": (30, 100_918),
    "pong-84x84-8": (86, 226_229),
    "nested": (30, 315),
    "halfcheetah": (46, 293),
}


class Echo:
    """Sends a request of one size, and receives a reply of another, into the same memory each time."""

    def __init__(self, address: str, workload: Workload) -> None:
        host, _, port = address.rpartition(":")
        request, reply = STEP_SIZES[workload.name]
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(SIZES.pack(request, reply))
        self._polls = os.environ.get("FLOOR_POLLS") == "1"
        self._socket.setblocking(not self._polls)
        self._request, self._reply = bytes(request), memoryview(bytearray(reply))
        self._count = workload.num_envs or 1

    def play(self, steps: int) -> int:
        """See :class:`compare.driving.Player`."""
        send, reply, request = self._socket.send, self._reply, self._request
        for _ in range(steps):
            send(request)  # so few bytes are always taken at once
            receive(self._socket, reply, self._polls)
        return steps * self._count

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def connect(address: str, workload: Workload) -> Player:
    """Connect to ``servers/floor_server.py``."""
    return Echo(address, workload)


if __name__ == "__main__":
    main(connect)

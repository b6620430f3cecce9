"""Bare TCP, the floor under a served step: as many bytes to and fro, and no environment.

``bare_tcp PORT`` is the server, with a process for each connection. The client first says how many bytes requests and
replies have. With ``BARE_TCP_POLLS=1`` both sides read again and again instead of sleeping until bytes come, which
excludes the time in which the kernel wakes a process up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import time

from gymtwist_benchmarks.process_statistics import total_cpu
from gymtwist_benchmarks.workloads import Workload

#: Bytes of a request and of its usual reply, as gymtwist's Python client and server exchange them.
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
#: Bytes of a step of CartPole and of its usual reply by the classic protocol.
_CLASSIC_SIZES = (7, 102)
#: The first message of a client: the sizes of a request and of a reply.
_SIZES = struct.Struct("<II")
_POLLS = os.environ.get("BARE_TCP_POLLS") == "1"


def _receive(connection: socket.socket, into: memoryview, polls: bool) -> None:
    """Fill a buffer; raise EOFError if the other side closes the connection."""
    filled = 0
    while filled < len(into):
        if polls:
            try:
                count = connection.recv_into(into[filled:])
            except BlockingIOError:
                continue
        else:
            count = connection.recv_into(into[filled:])
        if not count:
            raise EOFError
        filled += count


def _send(connection: socket.socket, data: memoryview) -> None:
    """Send all of it, whether or not the socket blocks."""
    while data:
        with contextlib.suppress(BlockingIOError):
            data = data[connection.send(data) :]


def _serve_connection(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sizes = memoryview(bytearray(_SIZES.size))
    with contextlib.suppress(EOFError, ConnectionError):
        _receive(connection, sizes, False)
        request_size, reply_size = _SIZES.unpack(sizes)
        request, reply = memoryview(bytearray(request_size)), memoryview(bytes(reply_size))
        connection.setblocking(not _POLLS)
        while True:
            _receive(connection, request, _POLLS)
            _send(connection, reply)


def serve(port: int) -> None:
    """Serve until this process is ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.create_server(("127.0.0.1", port), backlog=64) as listening:
        print("ready", port, flush=True)
        while True:
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _serve_connection(connection)
                os._exit(0)
            connection.close()


class EchoPlayer:
    """Sends requests of one size and receives replies of another, into the same memory each time."""

    def __init__(self, address: str, workload: Workload) -> None:
        host, _, port = address.rpartition(":")
        request, reply = STEP_SIZES[workload.name]
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(_SIZES.pack(request, reply))
        self._socket.setblocking(not _POLLS)
        self._request, self._reply = bytes(request), memoryview(bytearray(reply))
        self._count = workload.num_envs or 1
        self.close = self._socket.close

    def play(self, steps: int) -> int:
        """See :class:`programs.driver.Player`."""
        send, reply, request = self._socket.send, self._reply, self._request
        for _ in range(steps):
            send(request)  # so few bytes are always taken at once
            _receive(self._socket, reply, _POLLS)
        return steps * self._count


def round_trips(count: int) -> tuple[float, float]:
    """Make round trips of the classic protocol's sizes to a process that only answers; return seconds and its cpu."""
    command, buffer = bytes(_CLASSIC_SIZES[0]), bytearray(4096)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if (pid := os.fork()) == 0:
            try:
                _serve_connection(listening.accept()[0])
            finally:
                os._exit(0)
        try:
            with socket.create_connection(listening.getsockname()) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sendall(_SIZES.pack(*_CLASSIC_SIZES))
                before, start = total_cpu(pid), time.perf_counter()
                for _ in range(count):
                    connection.sendall(command)
                    connection.recv_into(buffer)
                return time.perf_counter() - start, total_cpu(pid) - before
        finally:
            os.waitpid(pid, 0)


connect = EchoPlayer

if __name__ == "__main__":
    serve(int(sys.argv[1]))

"""The floor under a served step: a process that answers as many bytes with as many bytes, and does nothing else.

Run as a program, ``floor.py REPLY_SIZE``: it writes its port, serves one connection, and ends.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import proc
from server import variables

#: The bytes of a step of CartPole and of its usual reply.
COMMAND_SIZE, REPLY_SIZE = 7, 102


def serve(reply_size: int) -> None:
    """Answer whatever comes with a reply of that size."""
    reply = bytes(reply_size)
    buffer = bytearray(4096)
    with socket.create_server(("127.0.0.1", 0)) as port:
        print(port.getsockname()[1], flush=True)
        connection, _ = port.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while connection.recv_into(buffer):
            connection.sendall(reply)


def round_trips(count: int) -> tuple[float, float]:
    """Make round trips to a process that only answers.

    Returns:
        Seconds that they took, and seconds of processor time in that process.
    """
    with subprocess.Popen(
        [sys.executable, str(Path(__file__)), str(REPLY_SIZE)], env=variables(), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        with socket.create_connection(("127.0.0.1", int(process.stdout.readline()))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            command, buffer = bytes(COMMAND_SIZE), bytearray(4096)
            before, start = proc.total_cpu(process.pid), time.perf_counter()
            for _ in range(count):
                connection.sendall(command)
                connection.recv_into(buffer)
            return time.perf_counter() - start, proc.total_cpu(process.pid) - before


if __name__ == "__main__":
    serve(int(sys.argv[1]))

"""Answers so many bytes with so many bytes: ``floor_server.py PORT``; one process for each connection.

A client says first how many bytes its requests and the replies have. With FLOOR_POLLS=1 in the environment, both sides
try to read again and again instead of sleeping until there is something: that takes the kernel's waking up out of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys

#: What a client says first: the sizes of a request and of a reply.
SIZES = struct.Struct("<II")


def receive(connection: socket.socket, into: memoryview, polls: bool) -> None:
    """Receive so many bytes.

    Raises:
        EOFError: The other side has hung up.
    """
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


def send(connection: socket.socket, data: memoryview) -> None:
    """Send all of it, whether or not the socket blocks."""
    while data:
        with contextlib.suppress(BlockingIOError):
            data = data[connection.send(data) :]


def serve(connection: socket.socket, polls: bool) -> None:
    """Serve a connection until its end."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sizes = memoryview(bytearray(SIZES.size))
    with contextlib.suppress(EOFError, ConnectionError):
        receive(connection, sizes, False)
        request_size, reply_size = SIZES.unpack(sizes)
        request, reply = memoryview(bytearray(request_size)), memoryview(bytes(reply_size))
        connection.setblocking(not polls)
        while True:
            receive(connection, request, polls)
            send(connection, reply)


def main() -> None:
    """Be the server."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    polls = os.environ.get("FLOOR_POLLS") == "1"
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64) as port:
        print("ready", port.getsockname()[1], flush=True)
        while True:
            connection, _ = port.accept()
            if os.fork() == 0:
                port.close()
                serve(connection, polls)
                os._exit(0)
            connection.close()


if __name__ == "__main__":
    main()

"""Open connections at a rate until ended: ``connection_flood PORT RATE SECRET``.

One in two sends a byte and nothing more. The others begin a session with the token, which the server refuses when the
identity has as many as it may. Each is closed when several hundred later ones are open. A line is written each second
with the connections that were opened in it.
"""

from __future__ import annotations

import collections
import contextlib
import socket
import sys
import time

from gymtwist.protocol import make_messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import ProtocolName

#: Connections that are open at once, and between two looks at the time.
_OPEN, _TOGETHER = 200, 10


def main(port: int, rate: float, token: str) -> None:
    """Open connections."""
    request = b"".join(MessageCodec(ProtocolName.INT32).encode_request(make_messages.Make("CartPole-v1", token=token)))
    kept: collections.deque[socket.socket] = collections.deque()
    begin, opened, told = time.monotonic(), 0, 0
    while True:
        for number in range(_TOGETHER):
            with contextlib.suppress(OSError):
                kept.append(socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.2", 0)))
                kept[-1].send(request if number % 2 else b"\0")
                opened += 1
        while len(kept) > _OPEN:
            kept.popleft().close()
        seconds = time.monotonic() - begin
        if seconds >= 1:
            print(opened - told, flush=True)
            begin, told = begin + 1, opened
            seconds -= 1
        time.sleep(max(0.0, (opened - told) / rate - seconds))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])

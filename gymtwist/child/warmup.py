"""A session that the fork server serves to itself, so that no child has to be the first.

What Python does when code runs for the first time - importing, specialising bytecode, filling caches - it then has
done before the fork: children share the memory of it, and their first step is as fast as any other.
"""

from __future__ import annotations

import os
import socket

from gymtwist.child import sessions
from gymtwist.child.settings import ChildSettings
from gymtwist.child.vitals import Vitals, create
from gymtwist.wire import classic, messages
from gymtwist.wire.codec import MessageCodec
from gymtwist.wire.opening import ProtocolName

_OPENING = b"\0" + classic.string(b"CartPole-v1")
_RESET = bytes([classic.RESET])
_STEP = bytes([classic.STEP]) + classic.action(b"1")
_SAMPLE = bytes([classic.SAMPLE_ACTION])
_SPACES = bytes([classic.GET_SPACE, 0, classic.GET_SPACE, 1])
#: Short episodes, so that none comes to its end by itself; CartPole's last 8 steps at least.
_EPISODES = 16


def serve_once() -> None:
    """Serve a few episodes of CartPole over a socket pair in each binary protocol, by the code that serves clients."""
    _serve(ProtocolName.CLASSIC, _OPENING, _SPACES + _SAMPLE + (_RESET + 6 * _STEP) * _EPISODES)
    codec = MessageCodec(ProtocolName.INT32)
    opening, sample, reset, step = (
        b"".join(codec.encode_request(request))
        for request in (
            messages.Make("CartPole-v1"),
            messages.Sample(),
            messages.Reset(),
            messages.Step((1).to_bytes(8, "little")),
        )
    )
    _serve(ProtocolName.INT32, opening, sample + (reset + 6 * step) * _EPISODES)


def _serve(protocol: ProtocolName, opening: bytes, commands: bytes) -> None:
    client, connection = socket.socketpair()
    descriptor = create()
    vitals = Vitals(descriptor, with_remains=True)
    os.close(descriptor)
    with client:
        client.sendall(commands)
        client.shutdown(socket.SHUT_WR)
        sessions.serve(protocol.value, connection, opening, b"", ChildSettings(monitor_root=os.getcwd()), vitals)
    vitals.close()

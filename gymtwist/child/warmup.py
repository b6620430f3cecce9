"""Sessions that the fork server serves to itself, so that no child has to be the first.

What Python does when code runs for the first few times - importing, specialising bytecode, filling caches - it then has
done before the fork: children share the memory of it, and their first step is as fast as any other.
"""

from __future__ import annotations

import os
import socket

from gymtwist.child import commands
from gymtwist.child.link import Link
from gymtwist.child.settings import ChildSettings
from gymtwist.child.transport import AMPConnection
from gymtwist.child.vitals import create
from gymtwist.child.worker import Worker
from gymtwist.wire import classic, messages
from gymtwist.wire.codec import MessageCodec
from gymtwist.wire.opening import ProtocolName

_OPENING = b"\0" + classic.string(b"CartPole-v1")
_RESET = bytes([classic.RESET])
_STEP = bytes([classic.STEP]) + classic.action(b"1")
_SAMPLE = bytes([classic.SAMPLE_ACTION])
_SPACES = bytes([classic.GET_SPACE, 0, classic.GET_SPACE, 1])
#: Short episodes, so that none comes to its end by itself; CartPole's last 8 steps at least.
_EPISODES = 4
#: Sessions of each protocol: with more, children share no more.
_SESSIONS = 8


def serve_some() -> None:
    """Serve sessions of CartPole in each binary protocol, by the code that serves clients, told as a child is told."""
    codec = MessageCodec(ProtocolName.INT32)
    make, sample, reset, step = (
        b"".join(codec.encode_request(request))
        for request in (
            messages.Make("CartPole-v1"),
            messages.Sample(),
            messages.Reset(),
            messages.Step((1).to_bytes(8, "little")),
        )
    )
    for _ in range(_SESSIONS):
        _serve(ProtocolName.CLASSIC, _OPENING, _SPACES + _SAMPLE + (_RESET + 6 * _STEP) * _EPISODES)
        _serve(ProtocolName.INT32, make, sample + (reset + 6 * step) * _EPISODES)


def _serve(protocol: ProtocolName, opening: bytes, requests: bytes) -> None:
    client, connection = socket.socketpair()
    ours, its = socket.socketpair()
    vitals = create()
    with client, connection, ours, its:
        client.sendall(requests)
        client.shutdown(socket.SHUT_WR)
        teller = Link()
        told = AMPConnection(teller, ours)
        teller.callRemote(
            commands.Serve,
            session=0,
            protocol=protocol.value.encode(),
            opening=opening,
            surplus=b"",
            greeting=b"",
            socket=connection.fileno(),
            vitals=vitals,
        )
        os.close(vitals)
        AMPConnection(Worker(ChildSettings(monitor_root=os.getcwd()), its), its).receive()
        told.receive()

"""Sessions that the fork server serves to itself, so that no child has to be the first.

What Python does when code runs for the first few times - importing, specialising bytecode, filling caches - it then has
done before the fork: children share the memory of it, and their first step is as fast as any other.

Whoever calls a function counts a reference to its code, and so writes to the page of memory that it lies in, of which
every child then has a copy. The code that sessions run is therefore gathered in as few pages as it fits into.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from types import CodeType, FrameType, FunctionType

from gymtwist.protocol import classic, messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.handshake import ProtocolName
from gymtwist.worker import amp_commands
from gymtwist.worker.amp_commands import Link
from gymtwist.worker.blocking_amp import AMPConnection
from gymtwist.worker.job import WorkerProtocol
from gymtwist.worker.session_status import create
from gymtwist.worker.worker_settings import WorkerSettings

_OPENING = b"\0" + classic.string(b"CartPole-v1")
_RESET = bytes([classic.RESET])
_STEP = bytes([classic.STEP]) + classic.action(b"1")
_SAMPLE = bytes([classic.SAMPLE_ACTION])
_SPACES = bytes([classic.GET_SPACE, 0, classic.GET_SPACE, 1])
#: Short episodes, so that none comes to its end by itself; CartPole's last 8 steps at least.
_EPISODES = 4
#: Sessions of each protocol before it is looked which code they run, as the first ones import; and after that: with
#: more, children share no more.
_BEFORE, _AFTER = 2, 8
#: The code whose place was left: otherwise children would fill it, a little in each of many pages.
_left: list[CodeType] = []


def serve_some() -> None:
    """Serve sessions of CartPole in each binary protocol, by the code that serves clients, told as a child is told."""
    _serve_both(_BEFORE)
    # From Python 3.13 on, calls of a function whose code was replaced are never specialised. A profiler is left alone.
    if sys.version_info < (3, 13) and sys.getprofile() is None:
        ran: dict[int, CodeType] = {}

        def note(frame: FrameType, event: str, argument: object) -> None:
            ran[id(frame.f_code)] = frame.f_code

        sys.setprofile(note)
        try:
            _serve_both(1)
        finally:
            sys.setprofile(None)
        _gather(ran)
    _serve_both(_AFTER)


def _gather(ran: dict[int, CodeType]) -> None:
    """Give functions copies of their code that were made one after another, and so lie side by side.

    Args:
        ran: The code of which functions, by its id.
    """
    copies: dict[int, CodeType] = {}
    for each in gc.get_objects():
        if type(each) is FunctionType and id(each.__code__) in ran:
            code = each.__code__
            if id(code) not in copies:
                copies[id(code)] = code.replace()
                _left.append(code)
            each.__code__ = copies[id(code)]


def _serve_both(times: int) -> None:
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
    for _ in range(times):
        _serve(ProtocolName.CLASSIC, _OPENING, _SPACES + _SAMPLE + (_RESET + 6 * _STEP) * _EPISODES)
        _serve(ProtocolName.INT32, make, sample + (reset + 6 * step) * _EPISODES)


def _serve(protocol: ProtocolName, handshake: bytes, requests: bytes) -> None:
    client, connection = socket.socketpair()
    ours, its = socket.socketpair()
    status = create()
    with client, connection, ours, its:
        client.sendall(requests)
        client.shutdown(socket.SHUT_WR)
        teller = Link()
        told = AMPConnection(teller, ours)
        teller.callRemote(
            amp_commands.Serve,
            session=0,
            protocol=protocol.value.encode(),
            handshake=handshake,
            trailing_data=b"",
            recovery_reply=b"",
            socket=connection.fileno(),
            status=status,
        )
        os.close(status)
        AMPConnection(WorkerProtocol(WorkerSettings(monitor_root=os.getcwd()), its), its).receive()
        told.receive()

"""Warm-up: the fork server serves sessions to itself before it forks workers.

Python imports modules, specialises bytecode and fills caches when code runs for the first few times. A warm-up does
this before the fork, so that workers share the memory, and their first step is as fast as any other.

A function call changes the reference count of the code object, so every worker gets its own copy of the memory page.
The code objects that sessions use are therefore gathered in as few pages as possible.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from types import CodeType, FrameType, FunctionType

from gymtwist.protocol import classic, make_messages, messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.handshake import ProtocolName
from gymtwist.worker import amp_commands
from gymtwist.worker.amp_commands import Link
from gymtwist.worker.blocking_amp import AMPConnection
from gymtwist.worker.job import Worker
from gymtwist.worker.session_status import create
from gymtwist.worker.worker_settings import WorkerSettings

_HANDSHAKE = b"\0" + classic.string(b"CartPole-v1")
_RESET = bytes([classic.RESET])
_STEP = bytes([classic.STEP]) + classic.action(b"1")
_SAMPLE = bytes([classic.SAMPLE_ACTION])
_SPACES = bytes([classic.GET_SPACE, 0, classic.GET_SPACE, 1])
#: Short episodes, so that none ends by itself: in CartPole each has at least 8 steps.
_EPISODES = 4
#: Sessions of each protocol before the code objects are recorded (the first ones import modules), and after; more
#: sessions do not increase the shared memory.
_BEFORE, _AFTER = 2, 8
#: The replaced code objects. If they were freed, workers would reuse their memory, and so copy many pages.
_replaced: list[CodeType] = []


def serve_some() -> None:
    """Serve sessions of CartPole in each binary protocol, with the code that serves clients."""
    _serve_both(_BEFORE)
    # Since Python 3.13, calls of functions with replaced code are never specialised. An active profiler is kept.
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
    # Otherwise, every worker would inherit the descriptors of these sessions: the collector is off until the fork.
    gc.collect()


def _gather(ran: dict[int, CodeType]) -> None:
    """Replace code objects with copies that are adjacent in memory, because they are made one after another.

    Args:
        ran: The code objects to replace, by their ids.
    """
    copies: dict[int, CodeType] = {}
    for each in gc.get_objects():
        if type(each) is FunctionType and id(each.__code__) in ran:
            code = each.__code__
            if id(code) not in copies:
                copies[id(code)] = code.replace()
                _replaced.append(code)
            each.__code__ = copies[id(code)]


def _serve_both(times: int) -> None:
    codec = MessageCodec(ProtocolName.INT32)
    make, sample, reset, step = (
        b"".join(codec.encode_request(request))
        for request in (
            make_messages.Make("CartPole-v1"),
            messages.Sample(),
            messages.Reset(),
            messages.Step((1).to_bytes(8, "little")),
        )
    )
    for _ in range(times):
        _serve(ProtocolName.CLASSIC, _HANDSHAKE, _SPACES + _SAMPLE + (_RESET + 6 * _STEP) * _EPISODES)
        _serve(ProtocolName.INT32, make, sample + (reset + 6 * step) * _EPISODES)


def _serve(protocol: ProtocolName, handshake: bytes, requests: bytes) -> None:
    client, connection = socket.socketpair()
    server_end, worker_end = socket.socketpair()
    status = create()
    with client, connection, server_end, worker_end:
        client.sendall(requests)
        client.shutdown(socket.SHUT_WR)
        link = Link()
        server = AMPConnection(link, server_end)
        link.callRemote(
            amp_commands.Serve,
            session=0,
            protocol=protocol.value.encode(),
            handshake=handshake,
            trailing_data=b"",
            recovery_reply=b"",
            directory="",
            overrides=b"",
            user=0,
            socket=connection.fileno(),
            status=status,
        )
        os.close(status)
        settings = WorkerSettings(monitor_root="/")
        Worker(worker_end, settings).receive()
        server.receive()

"""Requests that run no operation of the environment, and transports that the adapter does not know."""

from __future__ import annotations

import os
import socket
from typing import cast

import pytest

from gymtwist.errors import SnapshotRefused
from gymtwist.protocol.framing import ProtocolName
from gymtwist.worker.framed_adapter import FramedAdapter
from gymtwist.worker.session_status import LAST_ACTIVITY, SessionStatus, create
from gymtwist.worker.transports import FrameTransport, Transport
from gymtwist.worker.worker_settings import WorkerSettings
from gymtwist_conformance.reference_client import INT32, Failed, message
from tests.support.patience import PATIENCE
from tests.support.process_inspection import eventually
from tests.support.served_session import Served


@pytest.mark.parametrize("operation", ["envs", "share", "resume"])
def test_it_counts_as_activity(operation: str) -> None:
    """Else the server would end a session that asks for nothing else as idle."""
    served = Served(INT32, message(INT32, "make", id="CartPole-v1"))
    try:
        served.client.reply("make")
        served.status.words[LAST_ACTIVITY] = 0.0
        fields = {"secret": "x"} if operation == "resume" else {}
        try:
            served.client.ask(operation, **fields)
        except Failed:
            assert operation == "resume"
        eventually(lambda: served.status.last_activity, PATIENCE)
    finally:
        served.end()


class _Unknown:
    """A transport of somebody's own."""


class _Derived(FrameTransport):
    """One that is derived from that of the socket, as shared memory is."""


@pytest.mark.parametrize("kind", [_Unknown, _Derived])
def test_a_transport_that_cannot_be_handed_over(kind: type) -> None:
    """Is refused, and named."""
    ours, its = socket.socketpair()
    descriptor = create()
    status = SessionStatus(descriptor, with_recovery=True)
    os.close(descriptor)
    with ours, its:
        adapter = FramedAdapter(ProtocolName.INT32, its, WorkerSettings(monitor_root="/"), status)
        adapter._receive_frames(b"")
        adapter.transport = cast(Transport, object.__new__(kind))
        with pytest.raises(SnapshotRefused, match=rf"^{kind.__name__} cannot be handed over to a copy: use the socket"):
            adapter.hand_over()
        status.close()

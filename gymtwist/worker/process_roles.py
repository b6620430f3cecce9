"""The role of this process in its session: the only worker, or the leader, a player or a branch in a group.

A process changes its role in the middle of a request, when it forks. The exceptions in this module unwind the stack up
to :mod:`gymtwist.worker.job`, which alone catches them, in the process that does not continue with the request. They
are not errors.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any, NoReturn

from gymtwist.worker import process_control
from gymtwist.worker.copy_channel import Channel, ChannelEnded, Finished


class Roles:
    """The state of this process.

    Attributes:
        link: The socket of the link to the server; None if there is none.
        leader: The channel to the leader, in a player; otherwise None.
        session: The number of the session.
    """

    def __init__(self) -> None:
        self.link: socket.socket | None = None
        self.leader: Channel | None = None
        self.session = 0


roles = Roles()


class Leads(BaseException):
    """This process is the leader from now on.

    Attributes:
        leader: The :class:`~gymtwist.worker.snapshot_leader.Leader` to run.
    """

    def __init__(self, leader: Any) -> None:
        super().__init__()
        self.leader = leader


class BranchedOff(BaseException):
    """This process serves another session from now on, and has a link of its own.

    Attributes:
        adapter: The adapter of the original session.
    """

    def __init__(self, adapter: Any) -> None:
        super().__init__()
        self.adapter = adapter


def finish(reason: str) -> NoReturn:
    """End a player whose session has ended.

    Args:
        reason: Why the session ended.
    """
    assert roles.leader is not None
    with contextlib.suppress(ChannelEnded):
        roles.leader.send(Finished(reason, process_control.processor_time()))
    process_control.leave(0)

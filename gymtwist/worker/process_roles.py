"""What this process is in its session: the worker itself, or the leader, a player or a branch among several processes.

A process changes its role in the middle of a request, when it forks. The exceptions here end that request and all
around it in a process that does not go on with it. They are no errors, and nothing below :mod:`gymtwist.worker.job`
catches them.
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
        link: The socket of the link with the server; None if there is none.
        leader: In a player, the channel with the leader.
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
        leader: What it does.
    """

    def __init__(self, leader: Any) -> None:
        super().__init__()
        self.leader = leader


class BranchedOff(BaseException):
    """This process serves another session from now on, and has a link of its own.

    Attributes:
        adapter: The adapter of the session that it comes from.
    """

    def __init__(self, adapter: Any) -> None:
        super().__init__()
        self.adapter = adapter


def finish(reason: str) -> NoReturn:
    """End a player whose session has ended.

    Args:
        reason: Why it has.
    """
    assert roles.leader is not None
    with contextlib.suppress(ChannelEnded):
        roles.leader.send(Finished(reason, process_control.processor_time()))
    process_control.leave(0)

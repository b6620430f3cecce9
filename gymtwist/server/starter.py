"""How children start: ampoule's ``IStarter``, by a fork server or by fresh interpreters."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

from ampoule.iampoule import IStarter
from twisted.internet import defer
from twisted.internet.protocol import Factory
from twisted.protocols import amp
from zope.interface import implementer

from gymtwist.child import processes
from gymtwist.child.settings import ChildSettings
from gymtwist.errors import ChildStartError
from gymtwist.server.child import NEW_PROCESS, Child, ChildLink
from gymtwist.server.output import OutputReader

#: Seconds in which everything must be imported before the first session.
READY_TIMEOUT = 120.0


def popen(
    role: str, settings: ChildSettings, output: int, *, amp_descriptor: int = -1, ready_descriptor: int = -1
) -> subprocess.Popen[bytes]:
    """Start a Python process of ``gymtwist.child`` in a session of its own.

    Args:
        role: What it shall be, see :mod:`gymtwist.child.__main__`.
        settings: What it is told.
        output: The descriptor that it prints to.
        amp_descriptor: The descriptor of its AMP socket.
        ready_descriptor: Where it says that it has imported everything.
    """
    passed = [descriptor for descriptor in (amp_descriptor, ready_descriptor) if descriptor >= 0]
    arguments = [settings.to_argument(), str(amp_descriptor), str(ready_descriptor)]
    return subprocess.Popen(
        [sys.executable, "-m", "gymtwist.child", role, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=passed,
        start_new_session=True,
    )


def adopt(reactor: Any, connection: socket.socket, protocol: amp.AMP) -> None:
    """Connect a protocol to the server's end of a UNIX socket pair, which is closed here."""
    connection.setblocking(False)
    reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: protocol))
    connection.close()


class Starter:
    """What both ways of starting a child share.

    Args:
        reactor: The reactor of the server.
        settings: What children are told.
    """

    def __init__(self, reactor: Any, settings: ChildSettings) -> None:
        self.reactor = reactor
        self.settings = settings

    def startAMPProcess(
        self, ampChild: object, ampParent: object = None, ampChildArgs: object = ()
    ) -> tuple[ChildLink, defer.Deferred[str]]:
        """Start a child; see ``ampoule.iampoule.IStarter``.

        Returns:
            The server's end of AMP with it, and what fires when it has ended.
        """
        ours, its = socket.socketpair()
        reader, writer = os.pipe()
        link = ChildLink()
        child = Child(link, OutputReader(self.reactor, reader, NEW_PROCESS))
        try:
            adopt(self.reactor, ours, link)
        except OSError:
            os.close(writer)
            raise
        self.start_child(child, its.detach(), writer)
        return link, child.finished

    def startPythonProcess(self, prot: object, *args: object) -> None:
        """Refuse: this part of ampoule's interface is for starters that build on its own one."""
        raise NotImplementedError("only startAMPProcess is served")

    def start_child(self, child: Child, amp_descriptor: int, output: int) -> None:
        """Start the process of a child; both descriptors are closed here once it has them."""
        raise NotImplementedError


@implementer(IStarter)
class SpawnStarter(Starter):
    """Starts each child as a fresh interpreter: slow, but it works where fork does not."""

    def start(self) -> None:
        """Make sure that everything can be imported.

        Raises:
            ChildStartError: It cannot; the message has the reason.
        """
        try:
            subprocess.run(
                [sys.executable, "-m", "gymtwist.child", "check", self.settings.to_argument(), "-1", "-1"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=READY_TIMEOUT,
                check=True,
            )
        except subprocess.TimeoutExpired as error:
            raise ChildStartError(f"--preload or --setup took more than {READY_TIMEOUT:.0f} s") from error
        except subprocess.CalledProcessError as error:
            raise ChildStartError(f"--preload or --setup failed:\n{error.stdout.decode(errors='replace')}") from error

    def start_child(self, child: Child, amp_descriptor: int, output: int) -> None:
        """Start a fresh interpreter."""
        try:
            process = popen("worker", self.settings, output, amp_descriptor=amp_descriptor)
        finally:
            os.close(amp_descriptor)
            os.close(output)
        child.started(process.pid)

        def reap() -> int:
            # Not reaped yet, the process keeps its id, so that the group killed is its own.
            processes.kill_group(process.pid)
            return process.wait()

        child.ends_with_link(reap)

    def stop(self) -> defer.Deferred[None]:
        """Do nothing: every child is told by its own link."""
        return defer.succeed(None)

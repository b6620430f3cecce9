"""The front's end of the process that talks to Ray."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from twisted.internet import defer
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from gymtwist.errors import WorkerStartError
from gymtwist.placement.node import NodeInfo
from gymtwist.placement.node_resources import Demand
from gymtwist.server.server_log import log

#: Seconds to connect to the cluster and start the first node, which may have to install a runtime environment.
_START_TIMEOUT = 300.0
#: Seconds before the process is restarted after it has ended.
_RESTART_DELAY = 2.0
#: Seconds that the process has to end.
_STOP_TIMEOUT = 5.0


class RayCluster:
    """Starts the process that talks to Ray, and restarts it if it ends.

    Args:
        reactor: The reactor.
        address: The address of the cluster; empty for the one that Ray finds.
        options: The options of the front, for the nodes.
        runtime_env: Ray's description of what nodes need, see ``ray.init``; None for nothing.
    """

    def __init__(
        self,
        reactor: Any,
        address: str,
        options: dict[str, Any],
        runtime_env: dict[str, Any] | None = None,
    ) -> None:
        self._reactor = reactor
        self._task = {"address": address, "options": options, "runtime_env": runtime_env or {}}
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lines: _Lines | None = None
        self._demanded: Mapping[Demand, int] = {}
        self._early: list[dict[str, Any]] = []
        self._received = b""
        self._up: Callable[[NodeInfo], None] = lambda _: None
        self._down: Callable[[str], None] = lambda _: None
        self._stopped: defer.Deferred[None] | None = None

    def start(self) -> NodeInfo | None:
        """Connect, and wait for the first node; blocks, so call it before the reactor runs.

        Returns:
            The first node; None if the cluster has none.

        Raises:
            WorkerStartError: The process cannot connect, or a node's server does not start.
        """
        self._launch()
        deadline = time.monotonic() + _START_TIMEOUT
        try:
            while True:
                said = self._next(deadline)
                self._early.append(said)
                match said["event"]:
                    case "refused":
                        raise WorkerStartError(f"Ray: {said['problem']}")
                    case "failed":
                        raise WorkerStartError(f"on the node {said['host']}: {said['problem']}")
                    case "connected" if not said["nodes"]:
                        return None
                    case "up":
                        return self._info(said)
        except BaseException:
            self._end_process()
            raise

    def _launch(self) -> None:
        self._demanded = {}
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gymtwist.placement.ray_driver", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        ours.sendall(json.dumps(self._task).encode() + b"\n")
        self._socket = ours

    def _next(self, deadline: float) -> dict[str, Any]:
        """Wait for the next message from the process."""
        assert self._socket is not None
        while b"\n" not in self._received:
            readable, _, _ = select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise WorkerStartError(f"Ray: no node has served within {_START_TIMEOUT:g} s")
            data = self._socket.recv(65536)
            if not data:
                raise WorkerStartError("the process that speaks to Ray has ended; is `ray` installed (gymtwist[ray])?")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    def follow(self, up: Callable[[NodeInfo], None], down: Callable[[str], None]) -> None:
        """Set the functions to call when a node starts serving, and when it stops."""
        self._up, self._down = up, down
        early, self._early = self._early, []
        for said in early:
            self._heard(said)
        self._adopt()

    def _adopt(self) -> None:
        assert self._socket is not None
        self._socket.setblocking(False)
        lines = self._lines = _Lines(self._heard, self._lost)
        factory = Factory.forProtocol(lambda: lines)
        self._reactor.adoptStreamConnection(self._socket.fileno(), socket.AF_UNIX, factory)
        self._socket.close()
        self._socket = None
        if self._received:
            lines.dataReceived(self._received)
            self._received = b""

    def _heard(self, said: dict[str, Any]) -> None:
        match said["event"]:
            case "up":
                self._up(self._info(said))
            case "down":
                self._down(said["node"])
            case "failed" | "refused" as event:
                where = f" on the node {said['host']}" if event == "failed" else ""
                log.error("Ray{where}: {problem}", where=where, problem=said["problem"])
                if event == "failed":
                    self._down(said["node"])  # sessions may be waiting for it

    def _info(self, said: dict[str, Any]) -> NodeInfo:
        fields = {name: value for name, value in said.items() if name not in ("event", "node")}
        return msgspec.convert({"id": said["node"], **fields}, NodeInfo)

    def _say(self, event: str, **fields: Any) -> None:
        if self._lines is not None:
            self._lines.sendLine(json.dumps({"event": event, **fields}).encode())

    def replace(self, node: str) -> None:
        """Start a lost node again."""
        self._say("replace", node=node)

    def rest(self, node: str) -> None:
        """End the agent of a node that has no sessions."""
        self._say("rest", node=node)

    def wake(self, node: str) -> None:
        """Start the agent of a resting node."""
        self._say("wake", node=node)

    def demand(self, sessions: Mapping[Demand, int]) -> None:
        """Tell Ray which sessions need room, including the running ones."""
        if sessions != self._demanded:
            self._demanded = sessions
            bundles = [
                {"resources": each.bundle, "labels": dict(each.labels), "count": count}
                for each, count in sessions.items()
                if each.resources
            ]
            self._say("demand", bundles=bundles)

    def _lost(self) -> None:
        """Restart the process: its nodes have ended with it."""
        self._lines = None
        self._end_process()
        if self._stopped is not None:
            if not self._stopped.called:
                self._stopped.callback(None)
            return
        log.error("The process that speaks to Ray has ended; starting another in {delay:g} s", delay=_RESTART_DELAY)
        self._reactor.callLater(_RESTART_DELAY, self._launch_again)

    def _launch_again(self) -> None:
        if self._stopped is None:
            self._launch()
            self._adopt()

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> defer.Deferred[None]:
        """Let the process and the agents end; return a Deferred that fires when they have."""
        stopped = self._stopped = defer.Deferred()
        if self._lines is None:
            self._end_process()
            stopped.callback(None)
            return stopped
        self._lines.transport.loseWriteConnection()
        timeout = self._reactor.callLater(_STOP_TIMEOUT, self._end_process)
        stopped.addCallback(lambda _: timeout.active() and timeout.cancel())
        return stopped


class _Lines(LineOnlyReceiver):
    """The connection to the process.

    Args:
        heard: Called with each message.
        lost: Called when the process has ended.
    """

    delimiter = b"\n"
    MAX_LENGTH = 1024 * 1024
    transport: Any

    def __init__(self, heard: Callable[[dict[str, Any]], None], lost: Callable[[], None]) -> None:
        self._heard = heard
        self._lost = lost

    def lineReceived(self, line: bytes) -> None:
        """Handle a line; called by Twisted."""
        self._heard(json.loads(line))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the end of the process; called by Twisted."""
        self._lost()

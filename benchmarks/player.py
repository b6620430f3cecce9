"""Many clients in one process, cheap enough that the server is what is measured.

Run as a program, ``player.py PORT CLIENTS SECONDS``: all clients connect at once and reset; then it writes a line of
JSON, waits for a line on its standard input, plays for so many seconds, and writes another line of JSON.
"""

from __future__ import annotations

import collections
import json
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import classic

#: Seconds for all clients to have their first observation, and afterwards for the last replies.
_OPENING_PATIENCE, _CLOSING_PATIENCE = 60.0, 10.0
_COMMANDS = [classic.step_command(action) for action in classic.random_actions(2, 1000)]


class Player:
    """One client, which acts when it is its turn.

    Args:
        port: The server's port on this machine.

    Attributes:
        steps: How many steps it has taken.
        waited: Seconds from connect to the first observation; None until it is there.
    """

    def __init__(self, port: int) -> None:
        self.steps = 0
        self.waited: float | None = None
        self._connected_at = time.perf_counter()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        # What comes of it shows when the socket can be written.
        self.socket.connect_ex(("127.0.0.1", port))
        self._received = b""
        self._understand: Callable[[bytes], bool] = self._opened
        self._next = classic.opening("CartPole-v1")

    def act(self) -> None:
        """Send what is next."""
        self.socket.sendall(self._next)

    def read(self) -> bool:
        """Read what has come.

        Returns:
            Whether that completes a reply, so that it is the client's turn.

        Raises:
            ConnectionError: The server refused or closed the connection.
        """
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        reply = self._received + data
        understood = self._understand(reply)
        self._received = b"" if understood else reply
        return understood

    def _opened(self, reply: bytes) -> bool:
        text = classic.error_text(reply)
        if text:
            raise ConnectionError(text)
        self._understand, self._next = self._observed, classic.RESET
        return text is not None

    def _observed(self, reply: bytes) -> bool:
        if not classic.is_observation(reply):
            return False
        if self.waited is None:
            self.waited = time.perf_counter() - self._connected_at
        self._understand, self._next = self._stepped, _COMMANDS[0]
        return True

    def _stepped(self, reply: bytes) -> bool:
        done = classic.step_done(reply)
        if done is None:
            return False
        self.steps += 1
        if done:
            self._understand, self._next = self._observed, classic.RESET
        else:
            self._next = _COMMANDS[self.steps % len(_COMMANDS)]
        return True


class Players:
    """All clients of this process.

    Args:
        port: The server's port on this machine.
        count: How many clients.
    """

    def __init__(self, port: int, count: int) -> None:
        self._failures: collections.Counter[str] = collections.Counter()
        #: Those that wait for a reply.
        self._waiting = selectors.DefaultSelector()
        self._players: list[Player] = []
        for _ in range(count):
            player = Player(port)
            self._players.append(player)
            self._waiting.register(player.socket, selectors.EVENT_WRITE, player)

    def open(self) -> dict[str, Any]:
        """Wait until every client has its first observation.

        Returns:
            Seconds that each has waited.
        """
        deadline = time.monotonic() + _OPENING_PATIENCE
        while self._waiting.get_map() and time.monotonic() < deadline:
            for player in self._turns():
                if player.waited is None:
                    self._attempt(player, player.act)
                else:
                    self._waiting.unregister(player.socket)
        self._give_up("no first observation")
        return {"waited_s": [player.waited for player in self._players if player.waited is not None]}

    def play(self, seconds: float) -> dict[str, Any]:
        """Play, all clients at once, and let the last replies come.

        Returns:
            Steps of each client, and how many failed for which reason.
        """
        for player in self._players:
            if player.waited is not None:
                self._waiting.register(player.socket, selectors.EVENT_READ, player)
                self._attempt(player, player.act)
        end = time.monotonic() + seconds
        while self._waiting.get_map() and (now := time.monotonic()) < end + _CLOSING_PATIENCE:
            for player in self._turns():
                if now < end:
                    self._attempt(player, player.act)
                else:
                    self._waiting.unregister(player.socket)
        self._give_up("no reply")
        return {"steps": [player.steps for player in self._players], "failures": dict(self._failures)}

    def _turns(self) -> Iterator[Player]:
        """Let clients read; yield those whose turn it is then."""
        for key, events in self._waiting.select(1.0):
            player: Player = key.data
            if events & selectors.EVENT_WRITE:  # it is connected
                self._waiting.modify(player.socket, selectors.EVENT_READ, player)
                yield player
            elif self._attempt(player, player.read):
                yield player

    def _attempt(self, player: Player, act: Callable[[], bool | None]) -> bool | None:
        """Let a client act; if it fails, wait for it no more."""
        try:
            return act()
        except OSError as error:
            self._failures[str(error)] += 1
            self._waiting.unregister(player.socket)
            return None

    def _give_up(self, reason: str) -> None:
        """Count those that still wait for a reply as failed."""
        for key in list(self._waiting.get_map().values()):
            self._failures[reason] += 1
            self._waiting.unregister(key.fileobj)


def main() -> None:
    """Be such a process."""
    port, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    players = Players(port, count)
    print(json.dumps(players.open()), flush=True)
    sys.stdin.readline()
    print(json.dumps(players.play(seconds)), flush=True)


if __name__ == "__main__":
    main()

"""Play the scenario "echo" of the conformance suite in plain Python. Start from it to check your own client.

Usage: python play_echo.py [HOST:PORT]
"""

import json
import socket
import sys


class Client:
    """One connection in the netstring protocol."""

    def __init__(self, host, port):
        """Connect."""
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def ask(self, op, **fields):
        """Send a request and return the reply, which may be an error."""
        payload = json.dumps({"op": op, **fields}).encode()
        self.socket.sendall(b"%d:%b," % (len(payload), payload))
        length = b""
        while (digit := self.file.read(1)) != b":":
            length += digit
        reply = json.loads(self.file.read(int(length)))
        assert self.file.read(1) == b","
        return reply


def play(client, first, seed_after_fault=None):
    """Step to the end of the episode. Each action is the first number of the previous observation."""
    reply = first
    while True:
        action = int(reply["observation"][0])
        stepped = client.ask("step", action=action)
        if stepped["op"] == "error" and not stepped.get("reset_needed"):
            continue  # send the same step again
        reply = client.ask("reset", seed=seed_after_fault) if stepped["op"] == "error" else stepped
        if reply.get("terminated") or reply.get("truncated"):
            return


host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:5002").rpartition(":")
client = Client(host, int(port))
client.ask("make", id="Conformance/Echo-v0")
play(client, client.ask("reset", seed=42), seed_after_fault=43)
play(client, client.ask("reset"))
client.ask("close")

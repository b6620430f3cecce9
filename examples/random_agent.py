"""A random agent in the netstring protocol, with only Python's standard library.

Usage: python random_agent.py [HOST:PORT [ENVIRONMENT [EPISODES]]]
"""

import json
import random
import socket
import sys


class ServerError(Exception):
    """The server replied with an error."""


class Client:
    """One connection with one environment."""

    def __init__(self, host, port):
        """Connect."""
        self.socket = socket.create_connection((host, port))
        # Send each request immediately, instead of waiting for more data.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def ask(self, op, **fields):
        """Send a request and return the reply."""
        payload = json.dumps({"op": op, **fields}).encode()
        self.socket.sendall(b"%d:%b," % (len(payload), payload))
        length = b""
        while (digit := self.read(1)) != b":":
            length += digit
        reply = json.loads(self.read(int(length)))
        if self.read(1) != b",":
            raise EOFError("the reply does not end with a comma")
        if reply["op"] == "error":
            raise ServerError(f"{reply['code']}: {reply['message']}")
        return reply

    def read(self, count):
        """Return exactly this many bytes."""
        data = self.file.read(count)
        if len(data) < count:
            raise EOFError("the server closed the connection")
        return data


def play(client, choose):
    """Play one episode; return the number of steps and the sum of the rewards."""
    client.ask("reset")
    length, total, ended = 0, 0.0, False
    while not ended:
        reply = client.ask("step", action=choose())
        length, total = length + 1, total + float(reply["reward"])
        ended = reply["terminated"] or reply["truncated"]
    return length, total


def main(address="127.0.0.1:5001", environment="CartPole-v1", episodes="3"):
    """Play some episodes."""
    host, _, port = address.rpartition(":")
    client = Client(host, int(port))
    space = client.ask("make", id=environment)["action_space"]

    def choose():
        if space["kind"] == "Discrete":
            return space["start"] + random.randrange(space["n"])
        return client.ask("sample")["action"]

    for episode in range(1, int(episodes) + 1):
        length, total = play(client, choose)
        print(f"episode {episode}: {length} steps, return {total:g}")
    client.ask("close")


try:
    main(*sys.argv[1:])
except (ServerError, OSError, EOFError) as error:
    sys.exit(f"error: {error}")

"""A random agent for many environments at once, in the Int32 protocol: MessagePack with arrays as bytes.

It needs msgspec (or any other MessagePack library) and NumPy.
Usage: python vector_agent.py [HOST:PORT [ENVIRONMENT [NUM_ENVS [STEPS]]]]
"""

import socket
import struct
import sys
import time

import msgspec
import numpy as np


class ServerError(Exception):
    """The server replied with an error."""


class Client:
    """One connection with one vector environment."""

    def __init__(self, host, port, environment, num_envs):
        """Connect and make the environments."""
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.made = self.ask("make", id=environment, num_envs=num_envs, info="none")

    def send(self, op, **fields):
        """Send a request. Its length is big-endian, unlike the numbers in its values."""
        payload = msgspec.msgpack.encode({"op": op, **fields})
        self.socket.sendall(struct.pack(">I", len(payload)) + payload)

    def receive(self):
        """Return the next reply."""
        (length,) = struct.unpack(">I", self.read(4))
        reply = msgspec.msgpack.decode(self.read(length))
        if reply["op"] == "error":
            raise ServerError(f"{reply['code']}: {reply['message']}")
        return reply

    def ask(self, op, **fields):
        """Send a request and return its reply."""
        self.send(op, **fields)
        return self.receive()

    def read(self, count):
        """Return exactly this many bytes."""
        data = self.file.read(count)
        if len(data) < count:
            raise EOFError("the server closed the connection")
        return data


def array(data, layout):
    """View the bytes of a value as an array; the layout has a single leaf."""
    (leaf,) = layout["leaves"]
    return np.frombuffer(data, np.dtype(leaf["dtype"]).newbyteorder("<")).reshape(leaf["shape"])


def main(address="127.0.0.1:5001", environment="CartPole-v1", num_envs="8", steps="1000"):
    """Take some steps."""
    host, _, port = address.rpartition(":")
    client = Client(host, int(port), environment, int(num_envs))
    layout = client.made["observation_layout"]
    observations = array(client.ask("reset", seed=42)["observation"], layout)
    print(f"{num_envs} environments, observations of {observations.dtype} and shape {observations.shape}")
    episodes, began = 0, time.perf_counter()
    for _ in range(int(steps)):
        reply = client.ask("step", action=client.ask("sample")["action"])
        observations = array(reply["observation"], layout)
        # An environment whose episode has ended begins the next one automatically.
        over = np.frombuffer(reply["terminated"], np.bool_) | np.frombuffer(reply["truncated"], np.bool_)
        episodes += int(over.sum())
    rate = int(steps) * int(num_envs) / (time.perf_counter() - began)
    print(f"{episodes} episodes, {rate:,.0f} steps/s")
    client.ask("close")


main(*sys.argv[1:])

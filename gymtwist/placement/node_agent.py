"""The agent of a node: a Ray actor that starts the node's server as a subprocess, and ends with it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from typing import Any

import ray

from gymtwist.placement.visible_gpus import visible_gpus

#: The end of what a server has printed that tells why it could not start, in characters.
_MOST_PRINTED = 2000


class NodeAgent:
    """The agent of a node; it takes no part in steps, and uses no CPU in Ray's accounting."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None

    def start(self, options: dict[str, Any]) -> dict[str, Any]:
        """Start the server.

        Args:
            options: The options of the front.

        Returns:
            Where the node listens, and what the front must know about it.

        Raises:
            RuntimeError: The server does not start; the message has the reason.
        """
        host, secret = ray.util.get_node_ip_address(), secrets.token_hex(32)
        # Environments get none of Ray's variables, which say where its tokens are.
        variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        variables["PYTHONHASHSEED"] = "0"
        if not variables.get("CUDA_VISIBLE_DEVICES"):
            # Ray hides all GPUs from an actor that uses none, but its sessions may use them.
            variables.pop("CUDA_VISIBLE_DEVICES", None)
        # It stays in the agent's process group, which Ray kills.
        server = self._server = subprocess.Popen(
            [sys.executable, "-m", "gymtwist.placement"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables,
        )
        assert server.stdin is not None and server.stdout is not None
        task = {"host": host, "secret": secret, "options": options, "raylet": int(os.environ.get("RAY_RAYLET_PID", 0))}
        with contextlib.suppress(BrokenPipeError):
            server.stdin.write(json.dumps(task).encode() + b"\n")
            server.stdin.flush()
        line = server.stdout.readline()
        if not line:
            raise RuntimeError(f"the server of the node ended with status {server.wait()}; its log is among Ray's")
        return {"host": host, "secret": secret, "gpus": visible_gpus(task["raylet"]), **json.loads(line)}

    def wait(self) -> int:
        """Wait until the server has ended, and return its exit status."""
        assert self._server is not None
        return self._server.wait()

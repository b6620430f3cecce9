"""Readers turn the text of an option into its value; each raises ``ValueError`` with the problem as a clause."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import ssl
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from twisted.internet import endpoints

from gymtwist.server import session_needs
from gymtwist.server.handed_over import HANDED_OVER
from gymtwist.worker.access_policy import GYMNASIUM_WRAPPERS
from gymtwist.worker.worker_settings import GYMNASIUM, NONE, Isolation

_LOOPBACK = "127.0.0.1"
#: Connections that the kernel queues for the server to accept. Twisted's default of 50 is too small when hundreds of
#: clients start together: a client whose connection attempt is dropped retries only after a second.
_BACKLOG = 1024
_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_CLUSTER = re.compile(r"(ray://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
#: The longest path of a UNIX socket, in bytes; see unix(7).
_LONGEST_SOCKET = 107
_ENDPOINTS_WITH_BACKLOG = ("tcp", "tcp6", "ssl", "unix")


def integer(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers in a range."""
    limit = "2**63 - 1" if most == 2**63 - 1 else str(most)

    def read(text: str) -> int:
        problem = f"must be a whole number from {least} to {limit}"
        try:
            value = int(text)
        except ValueError:
            raise ValueError(problem) from None
        if not least <= value <= most:
            raise ValueError(problem)
        return value

    return read


def number(expected: str, accepts: Callable[[float], bool]) -> Callable[[str], float]:
    """Return a reader of numbers that a predicate accepts."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not accepts(value):
            raise ValueError(f"must be a number of {expected}")
        return value

    return read


seconds = number("seconds, 0 or more, such as 2.5", lambda value: 0 <= value < 1e9)
positive_seconds = number("seconds, more than 0, such as 2.5", lambda value: 0 < value < 1e9)
resource = number("0 or more, such as 0.5", lambda value: 0 <= value <= 1e6)
microseconds = number("microseconds from 0 to 1000000", lambda value: 0 <= value <= 1e6)


def start_method(text: str) -> str:
    """Read how processes start."""
    if text not in ("forkserver", "spawn"):
        raise ValueError("must be 'forkserver' or 'spawn'")
    return text


def place(text: str) -> str:
    """Read where sessions run."""
    if text not in ("local", "ray") and not _CLUSTER.fullmatch(text):
        raise ValueError("must be 'local', 'ray', or the address of a Ray cluster, such as 10.0.0.1:6379")
    return text


def gpus(text: str) -> float:
    """Read how many GPUs a session takes."""
    amount = resource(text)
    session_needs.check_gpus("session-gpus", amount)
    return amount


def needs(text: str) -> str:
    """Read what the sessions of some environments need."""
    session_needs.read_needs(text)
    return text


def named_resource(text: str) -> str:
    """Read how much of a resource a session takes."""
    name, _, amount = text.partition("=")
    if not name:
        raise ValueError("must be a name and an amount, such as simulator=1")
    session_needs.check_resource(name)
    try:
        resource(amount)
    except ValueError as error:
        raise ValueError(f"must be a name and an amount, such as simulator=1; the amount {error}") from None
    return text


def json_file(text: str) -> str:
    """Read the path of a file that contains a JSON object."""
    path = readable_file(text)
    try:
        found = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("it must be an object of JSON")
    return path


def strategy(text: str) -> str:
    """Read how the node for a session is chosen."""
    if text not in ("pack", "spread"):
        raise ValueError("must be 'pack' or 'spread'")
    return text


def log_format(text: str) -> str:
    """Read the form of the log."""
    if text not in ("auto", "text", "json", "journal"):
        raise ValueError("must be 'auto', 'text', 'json' or 'journal'")
    return text


def isolation(text: str) -> str:
    """Read a level of isolation."""
    levels = [level.value for level in Isolation]
    if text not in levels:
        raise ValueError(f"must be {', '.join(levels[:-1])} or {levels[-1]}")
    return text


def cgroups(text: str) -> str:
    """Read whether sessions have control groups."""
    if text not in ("auto", "on", "off"):
        raise ValueError("must be 'auto', 'on' or 'off'")
    return text


def user_ids(text: str) -> str:
    """Read a range of user ids."""
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 2**32 - 1):
        raise ValueError("must be two numbers such as 1900000000-1900065535, neither of them root's 0")
    return text


def path(text: str) -> str:
    """Read the path of a file or directory that exists."""
    if not os.path.exists(text):
        raise ValueError("there is no such file or directory")
    return os.path.abspath(text)


def kwarg_names(text: str) -> str:
    """Read which keyword arguments are allowed."""
    if not all(map(str.isidentifier, text.split(","))):
        raise ValueError("must be plain, all, none, or names separated by commas")
    return text


def attribute_names(text: str) -> str:
    """Read which attributes are allowed."""
    names = text.split(",")
    if not all(each.isidentifier() and not each.startswith("__") for each in names):
        raise ValueError("must be plain, all, none, or names separated by commas")
    if NONE in names and len(names) > 1:
        raise ValueError("none excludes everything else")
    return text


def wrapper_names(text: str) -> str:
    """Read which wrappers are allowed."""
    for name in text.split(","):
        module, colon, bare = name.rpartition(":")
        is_class = bool(colon) and all(map(str.isidentifier, (*module.split("."), bare)))
        if not is_class and text != NONE and name not in {GYMNASIUM, *GYMNASIUM_WRAPPERS}:
            raise ValueError(
                "must be gymnasium, none, or names separated by commas: those of wrappers that are allowed by default, "
                "and module:Class for any other"
            )
    return text


def module(text: str) -> str:
    """Read the name of a module that exists."""
    if not all(map(str.isidentifier, text.split("."))):
        raise ValueError("must be the name of a module, such as mypackage.environments")
    top = text.split(".")[0]
    if top not in sys.builtin_module_names and not PathFinder.find_spec(top, [os.getcwd(), *sys.path]):
        raise ValueError("there is no such module where the server starts")
    return text


def python_file(text: str) -> str:
    """Read the path of a Python file."""
    # A daemon changes its working directory before its workers read the path.
    path = os.path.abspath(text)
    try:
        ast.parse(Path(path).read_bytes(), path)
    except OSError as error:
        raise ValueError(error.strerror) from error
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"not Python: {error}") from error
    return path


def readable_file(text: str) -> str:
    """Read the path of a file that can be read."""
    path = os.path.abspath(text)
    try:
        with open(path, "rb"):
            return path
    except OSError as error:
        raise ValueError(error.strerror) from error


def certificates(text: str) -> str:
    """Read the path of a file of certificates."""
    path = readable_file(text)
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise ValueError(f"not a PEM file of certificates: {error.reason or error}") from error
    return path


def socket_path(text: str) -> str:
    """Read the path of a UNIX socket that can be created."""
    path = os.path.abspath(text)
    if not os.path.isdir(os.path.dirname(path)):
        raise ValueError("its directory does not exist; create it first")
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise ValueError(f"the path has more than {_LONGEST_SOCKET} bytes, which the kernel does not take")
    return path


def directory(text: str) -> str:
    """Read the path of a directory that exists."""
    path = Path(text).resolve()
    if not path.is_dir():
        raise ValueError("must be a directory that exists; create it first")
    return str(path)


def endpoint(text: str) -> str:
    """Turn a port number into an endpoint description, and check that Twisted can parse the description."""
    if text.isdecimal():
        if not 0 <= int(text) < 65536:
            raise ValueError("a port number is from 0 to 65535")
        text = f"tcp:{text}:interface={_LOOPBACK}"
    if text.split(":")[0] in _ENDPOINTS_WITH_BACKLOG and ":backlog=" not in text:
        text = f"{text}:backlog={_BACKLOG}"
    if HANDED_OVER is not None and HANDED_OVER.had(text):
        return text  # for a systemd socket, which was handed to another process
    unused: Any = None  # parsing a description only stores the reactor
    try:
        endpoints.serverFromString(unused, text)
    except Exception as error:  # each endpoint parser raises errors of its own
        detail = str(error) or type(error).__name__
        raise ValueError(
            f"must be a port number or an endpoint description such as tcp:5001:interface=127.0.0.1 ({detail})"
        ) from error
    return text


def host(text: str) -> str:
    """Read the name of a host."""
    if text != "*" and not _HOST.fullmatch(text):
        raise ValueError("must be the name of a host without a port, such as gym.example.org, or '*'")
    return text.lower()


def origin(text: str) -> str:
    """Read the origin of web pages."""
    if text != "*" and not _ORIGIN.fullmatch(text):
        raise ValueError("must be an origin such as https://example.org or http://localhost:8000, or '*'")
    return text.lower()

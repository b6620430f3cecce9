"""The options of ``twistd gymsock``: their texts, and what they become."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet import endpoints
from twisted.python import usage

from gymtwist.worker import access_policy
from gymtwist.worker.worker_settings import SessionLimits, WorkerSettings

DEFAULT_PORT = 5001
#: More of anything that is counted is a slip of the pen.
_MOST = 1_000_000
_LOOPBACK = "127.0.0.1"
#: Connections that the kernel keeps for the server to accept. Twisted's 50 are too few if hundreds of clients start
#: together: those that find no place try again after a second.
_BACKLOG = 1024
#: The endpoints that take a backlog.
_WITH_BACKLOG = ("tcp", "tcp6", "ssl", "unix")


def _whole(name: str) -> Callable[[str], int]:
    """Return what reads an option's value as a whole number."""

    def read(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise usage.UsageError(f"--{name} {text}: must be a whole number") from None

    return read


def _number(name: str, unit: str) -> Callable[[str], float]:
    """Return what reads an option's value as a number of some unit."""

    def read(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise usage.UsageError(f"--{name} {text}: must be a number of {unit}, such as 2.5") from None

    return read


def _seconds(name: str) -> Callable[[str], float]:
    """Return what reads an option's value as a number of seconds."""
    return _number(name, "seconds")


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options that concern the server, as their help texts say; times are in seconds."""

    endpoints: tuple[str, ...]
    warm: int
    max_sessions: int
    queue: int
    opening_timeout: float
    idle_timeout: float
    step_timeout: float
    drain: float
    keepalive: float
    allow: tuple[str, ...]
    start_method: str


class Options(usage.Options):
    """What can be said on the command line."""

    longdesc = (
        "Serve Gymnasium and Gym environments over a socket to clients in any language. Each connection is a session "
        "with a process of its own. There are no passwords: whoever can connect can play. By default only this machine "
        "can connect, clients cannot import modules, and recordings stay below the directory the server is started in."
    )

    optParameters = [
        ["port", "p", str(DEFAULT_PORT), "Listen here: a port number (on 127.0.0.1, so only this machine can "
         "connect), or any Twisted endpoint description. tcp:5001 opens the port to every network, and there is no "
         "password."],
        ["warm", "w", 4, "Keep this many idle processes ready, so that a new connection is served at once.",
         _whole("warm")],
        ["max-sessions", "m", 256, "Serve at most this many connections at once.", _whole("max-sessions")],
        ["queue", "q", 64, "Let this many more connections wait for room; past that they are told that the server "
         "is full.", _whole("queue")],
        ["opening-timeout", None, 10.0, "Seconds a new connection has to say which environment it wants.",
         _seconds("opening-timeout")],
        ["idle-timeout", None, 600.0, "Seconds a client may be silent before it is hung up on; 0 means for ever. "
         "A learner may think for minutes.", _seconds("idle-timeout")],
        ["step-timeout", None, 300.0, "Seconds an environment may take for one step or reset, or to be made, "
         "before its process is killed; 0 means for ever, and one that hangs then keeps its place.",
         _seconds("step-timeout")],
        ["drain", None, 10.0, "Seconds that sessions may go on when the server is told to stop.", _seconds("drain")],
        ["keepalive", None, 60.0, "Seconds after which a client that vanished without a word (its machine or its "
         "network went down) is noticed, by TCP keepalive; 0 means never.", _seconds("keepalive")],
        ["memory-limit", None, 0, "MiB of memory that the process of one session may allocate; past that its "
         "environment gets a MemoryError. 0 means no limit.", _whole("memory-limit")],
        ["setup", None, None, "Run this Python file before any session, for instance to register environments "
         "of your own."],
        ["kwargs", None, access_policy.PLAIN,
         "Which keyword arguments clients may give to environments: 'plain' allows "
         "numbers, and strings that are no paths (with --allow, none that replaces a string of the registration); "
         "names such as 'frameskip,obs_type' allow those alone, whatever they are; 'none' allows none; 'all' lets "
         "clients name any file of this machine to an environment that opens it."],
        ["monitor-root", None, None, "Clients may record statistics and videos below this directory, and remove "
         "earlier recordings there, but nowhere else (default: the directory the server is started in)."],
        ["seed", None, None, "Seed every session with this number, so that the same actions give the same "
         "episodes.", _whole("seed")],
        ["poll", None, 50.0, "Microseconds that the process of a session looks out for the next request before it "
         "sleeps and must be woken up, where that is found to be faster and a core is free for it; 0 means never.",
         _number("poll", "microseconds")],
        ["start-method", None, "forkserver", "How the process of a session starts: 'forkserver' takes "
         "milliseconds, 'spawn' starts a new Python for each, for where fork does not work."],
    ]  # fmt: skip

    optFlags = [
        [
            "display",
            None,
            "Let any client open windows on this server's screen; without this, what clients render is not shown.",
        ],
        [
            "no-shared-memory",
            None,
            "Exchange everything with clients on this machine through their sockets, as with others.",
        ],
    ]

    compData = usage.Completions(
        optActions={"setup": usage.CompleteFiles("*.py"), "monitor-root": usage.CompleteDirs()}
    )

    def __init__(self) -> None:
        super().__init__()
        self["listen"], self["preload"], self["allow"] = [], [], []

    def opt_listen(self, endpoint: str) -> None:
        """Listen here, too; as --port, for example unix:/run/gymsock or ssl:... for TLS (may be repeated)."""
        self["listen"].append(endpoint)

    def opt_preload(self, module: str) -> None:
        """Import this Python module before any session; ale_py needs no asking if installed (may be repeated)."""
        self["preload"].append(module)

    def opt_allow(self, pattern: str) -> None:
        """Allow only environment ids like 'ALE/*'; 'module:*' lets clients import that module (may be repeated)."""
        self["allow"].append(pattern)

    def postOptions(self) -> None:
        """Check everything that can be wrong, so that it is told in one line now and not later."""
        for name, least in (("warm", 0), ("max-sessions", 1), ("queue", 0), ("memory-limit", 0)):
            self._check(name, least <= self[name] <= _MOST, f"must be a whole number from {least} to {_MOST}")
        for name in ("opening-timeout", "idle-timeout", "step-timeout", "drain", "keepalive"):
            self._check(name, 0 <= self[name] < 1e9, "must be a number of seconds, 0 or more")
        self._check("opening-timeout", self["opening-timeout"] > 0, "must be more than 0 seconds")
        self._check("poll", 0 <= self["poll"] <= 1e6, "must be a number of microseconds from 0 to 1000000")
        self._check("seed", self["seed"] is None or 0 <= self["seed"] < 2**63, "must be from 0 to 2**63 - 1")
        self._check("start-method", self["start-method"] in ("forkserver", "spawn"), "must be 'forkserver' or 'spawn'")
        for module in self["preload"]:
            self._check(
                "preload",
                all(map(str.isidentifier, module.split("."))),
                "is no module's name, such as mypackage.environments",
                module,
            )
            top = module.split(".")[0]
            found = top in sys.builtin_module_names or PathFinder.find_spec(top, [os.getcwd(), *sys.path])
            self._check("preload", bool(found), "there is no such module where the server starts", module)
        names = self["kwargs"].split(",")
        self._check("kwargs", all(map(str.isidentifier, names)), "must be plain, all, none, or names with commas")
        self._check_setup()
        self._check_root()
        self["endpoints"] = (
            _endpoint("--port", self["port"]),
            *(_endpoint("--listen", each) for each in self["listen"]),
        )

    def _check(self, name: str, valid: bool, problem: str, value: object = None) -> None:
        if not valid:
            raise usage.UsageError(f"--{name} {self[name] if value is None else value}: {problem}")

    def _check_setup(self) -> None:
        if self["setup"] is None:
            return
        self["setup"] = os.path.abspath(self["setup"])
        try:
            ast.parse(Path(self["setup"]).read_bytes(), self["setup"])
        except OSError as error:
            raise usage.UsageError(f"--setup {self['setup']}: {error.strerror}") from error
        except (SyntaxError, ValueError) as error:
            raise usage.UsageError(f"--setup {self['setup']}: not Python: {error}") from error

    def _check_root(self) -> None:
        root = Path(self["monitor-root"] or os.getcwd()).resolve()
        self._check("monitor-root", root.is_dir(), "is no directory; make it first")
        self["monitor-root"] = str(root)

    def for_server(self) -> ServerOptions:
        """Return what concerns the server."""
        names = {name.replace("-", "_"): value for name, value in self.items()}
        return msgspec.convert(
            {field: names[field] for field in ServerOptions.__struct_fields__},
            ServerOptions,
            from_attributes=True,
        )

    def for_workers(self) -> WorkerSettings:
        """Return what concerns the children."""
        return WorkerSettings(
            preload=tuple(self["preload"]),
            setup=self["setup"],
            monitor_root=self["monitor-root"],
            display=bool(self["display"]),
            seed=self["seed"],
            memory_limit=self["memory-limit"] * 2**20,
            allow=tuple(self["allow"]),
            kwargs=self["kwargs"],
            shared_memory=not self["no-shared-memory"],
            poll=self["poll"] / 1e6,
            limits=SessionLimits(idle=self["idle-timeout"], step=self["step-timeout"]),
        )


def _endpoint(option: str, text: str) -> str:
    """Make an endpoint description of a port number, and check that Twisted understands it."""
    if text.isdecimal():
        if not 0 <= int(text) < 65536:
            raise usage.UsageError(f"{option} {text}: a port number is from 0 to 65535")
        text = f"tcp:{text}:interface={_LOOPBACK}"
    if text.split(":")[0] in _WITH_BACKLOG and ":backlog=" not in text:
        text = f"{text}:backlog={_BACKLOG}"
    unused: Any = None  # parsing a description only stores the reactor
    try:
        endpoints.serverFromString(unused, text)
    except Exception as error:  # what Twisted's parsers raise depends on the endpoint
        detail = str(error) or type(error).__name__
        raise usage.UsageError(
            f"{option} {text}: neither a port number nor an endpoint description such as "
            f"tcp:5001:interface=127.0.0.1 ({detail})"
        ) from error
    return text

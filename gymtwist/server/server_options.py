"""The options of ``twistd gymsock``.

Each field of :class:`ServerOptions` defines one option: its name, type, default, help text and check. The usage text,
the parser and the values are generated from these fields (see :mod:`gymtwist.server.command_line`). Workers get the
options that :class:`~gymtwist.worker.worker_settings.WorkerSettings` has fields for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from gymtwist.server import option_readers as readers
from gymtwist.worker.worker_settings import GYMNASIUM, PLAIN, Isolation, SessionLimits, WorkerSettings

DEFAULT_PORT = 5001
#: A larger number is a typing error.
_MOST = 1_000_000


class Option(msgspec.Struct, frozen=True):
    """The command-line side of an option.

    Attributes:
        help: The help text.
        read: Parses the text of the option; raises ``ValueError`` with the problem as a clause.
        letter: The short form of the option; None if it has none.
    """

    help: str
    read: Callable[[str], object] = str
    letter: str | None = None


#: The maximum number of processes and threads of a session with its own user and no --process-limit.
_PROCESSES_OF_A_USER = 2048

# The options


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options; times are in seconds unless the help text says otherwise."""

    # fmt: off
    config: Annotated[str | None, Option(
        "Read options from this TOML file, by their names without the dashes: idle-timeout = 60. The command line "
        "overrides it.", readers.readable_file,
    )] = None
    control: Annotated[str | None, Option(
        "Let gymsockctl control the server at this UNIX socket, which only the server's user can open: it ends "
        "sessions, drains and upgrades the server, and reloads the options. Under systemd with RuntimeDirectory= "
        "the default is the socket `control` there.", readers.socket_path,
    )] = None
    port: Annotated[str, Option(
        "Listen here: a port number (on 127.0.0.1, so only this machine can connect), or any Twisted endpoint "
        "description. tcp:5001 opens it to every network, which needs TLS and --identities, or --trusted-network.",
        readers.endpoint, "p",
    )] = str(DEFAULT_PORT)
    listen: Annotated[tuple[str, ...], Option(
        "Listen here, too; as --port, for example unix:/run/gymsock or ssl:... for TLS (may be repeated).",
        readers.endpoint,
    )] = ()
    listen_http: Annotated[tuple[str, ...], Option(
        "Listen here for HTTP and WebSocket only; as --port (may be repeated).", readers.endpoint,
    )] = ()
    no_http: Annotated[bool, Option(
        "Disable HTTP and WebSocket at --port and --listen.",
    )] = False
    allow_host: Annotated[tuple[str, ...], Option(
        "Accept this host name in HTTP requests, such as gym.example.org; '*' allows any. IP addresses, and names "
        "without a dot, need no option (may be repeated).", readers.host,
    )] = ()
    allow_origin: Annotated[tuple[str, ...], Option(
        "Let web pages of this origin, such as https://example.org, use the server; '*' allows those of any site (may "
        "be repeated).", readers.origin,
    )] = ()
    trusted_network: Annotated[bool, Option(
        "Allow other machines to connect without TLS or without --identities: whoever can connect can then play, or "
        "read what others send, including tokens.",
    )] = False
    identities: Annotated[str | None, Option(
        "Admit only clients with an identity in this TOML file: by a token, which `python -m "
        "gymtwist.server.identities NAME` makes, by a certificate, by their user at a UNIX socket, or by their "
        "network. The file also says what each may use. Without this, whoever can connect can play.",
        readers.readable_file,
    )] = None
    client_ca: Annotated[str | None, Option(
        "At ports with TLS, accept client certificates that the authorities in this PEM file have signed. The file of "
        "--identities maps their common names to identities.", readers.certificates,
    )] = None
    warm: Annotated[int, Option(
        "Keep this many idle workers ready, so that a new connection is served at once.",
        readers.integer(0, _MOST), "w",
    )] = 4
    max_sessions: Annotated[int, Option(
        "Serve at most this many connections at once.", readers.integer(1, _MOST), "m",
    )] = 256
    queue: Annotated[int, Option(
        "Let this many more connections wait for a session to end; further clients get an error: the server is full.",
        readers.integer(0, _MOST), "q",
    )] = 64
    max_handshakes: Annotated[int, Option(
        "Keep at most this many connections that have no session: they have not sent their handshake, or they have "
        "been answered and not closed. Beyond that the oldest is dropped.", readers.integer(1, _MOST),
    )] = 512
    max_handshakes_per_address: Annotated[int, Option(
        "The same limit for one IP address (with IPv6, for one /64 network), so that one client cannot use up all of "
        "--max-handshakes.",
        readers.integer(1, _MOST),
    )] = 256
    max_envs: Annotated[int, Option(
        "Make at most this many environments in one session.", readers.integer(1, 10_000),
    )] = 1024
    max_snapshots: Annotated[int, Option(
        "Keep at most this many snapshots in one session: each is a process with a megabyte of memory or more; 0 for "
        "none.", readers.integer(0, 10_000),
    )] = 100
    memory_limit: Annotated[int, Option(
        "MiB of memory that the processes of one session may hold together. An environment that allocates more gets a "
        "MemoryError; if several processes hold more, those that it started are killed. 0 means no limit.",
        readers.integer(0, _MOST),
    )] = 0
    process_limit: Annotated[int, Option(
        "Sessions cannot start another process or thread while the server's user has this many or more, other programs "
        "included; it does not limit root. 0 means no limit. With a user or a control group of its own, each session "
        "may have this many, and 0 means 2048.", readers.integer(0, _MOST),
    )] = 0
    file_size_limit: Annotated[int, Option(
        "MiB of the largest file that a session may write, recordings among them. 0 means no limit.",
        readers.integer(0, _MOST),
    )] = 0
    open_file_limit: Annotated[int, Option(
        "Files that each process of a session may have open. 0 means no limit but the server's own.",
        readers.integer(0, _MOST),
    )] = 0
    isolate: Annotated[Isolation, Option(
        "How strictly sessions are isolated. 'limits': they gain no privileges, cannot read each other's memory, and "
        "stay within the limits above. 'files': they also reach only the files, TCP ports and processes that they need "
        "(Landlock; Linux 6.12 or later). 'user': each session also runs as a user of its own, with its own /tmp (root "
        "must start the server). 'all': both. If this machine cannot do it, the server does not start.",
        readers.isolation,
    )] = Isolation.LIMITS
    cgroups: Annotated[str, Option(
        "Give each session a control group (cgroup v2): the kernel then limits its memory and its processes, shares "
        "processors fairly, and leaves no process behind. 'auto': if a group is delegated to the server, as with "
        "systemd's Delegate=yes; 'on': always, or the server does not start; 'off': never.", readers.cgroups,
    )] = "auto"
    session_reads: Annotated[tuple[str, ...], Option(
        "With --isolate files, user or all: let sessions read this file or directory, besides those of Python and the "
        "system (may be repeated).", readers.path,
    )] = ()
    session_writes: Annotated[tuple[str, ...], Option(
        "With --isolate files, user or all: let sessions read and write this file or directory, which all sessions "
        "share (may be repeated).", readers.path,
    )] = ()
    session_connects: Annotated[tuple[int, ...], Option(
        "With --isolate files or all: let sessions connect to this TCP port, of any machine (may be repeated).",
        readers.integer(1, 65535),
    )] = ()
    session_users: Annotated[str, Option(
        "With --isolate user or all: the range of ids from which each session gets its user and group. No account of "
        "this machine may have one of them.", readers.user_ids,
    )] = "1900000000-1900065535"
    disk_limit: Annotated[int, Option(
        "With --isolate user or all: MiB that a session may write to its working directory, /tmp, /var/tmp and "
        "/dev/shm together, which are in memory.", readers.integer(1, _MOST),
    )] = 256
    opening_timeout: Annotated[float, Option(
        "Seconds a new connection has to say which environment it wants.", readers.positive_seconds,
    )] = 10.0
    idle_timeout: Annotated[float, Option(
        "Seconds a client may be silent before the server closes its connection; 0 means no limit. A learner may "
        "think for minutes.", readers.seconds,
    )] = 600.0
    step_timeout: Annotated[float, Option(
        "Seconds an environment may take for one step or reset, or to be made, before its process is killed; 0 means "
        "no limit: only --request-timeout then ends a step that hangs.", readers.seconds,
    )] = 300.0
    request_timeout: Annotated[float, Option(
        "Seconds that one request may take with all its steps, resets and attempts to make, before its process is "
        "killed; 0 means no limit.",
        readers.seconds,
    )] = 3600.0
    leave_timeout: Annotated[float, Option(
        "Seconds that a request may go on after its client has closed the connection or its sending side, before the "
        "session is ended; 0 means until the environment returns.", readers.seconds,
    )] = 30.0
    resume_timeout: Annotated[float, Option(
        "Seconds that a session may wait for its client after its connection was lost, if the client has asked for "
        "that: it then holds its place and its memory without a connection. 0 means that sessions end with their "
        "connections.", readers.seconds,
    )] = 60.0
    max_disconnected: Annotated[int, Option(
        "At most this many sessions may be without a connection and wait for their clients. If there are more, the one "
        "that has waited longest is ended.",
        readers.integer(0, _MOST),
    )] = 64
    keepalive: Annotated[float, Option(
        "Seconds after which TCP keepalive detects a client that vanished without closing its connection (its "
        "machine or its network went down); 0 means never.", readers.seconds,
    )] = 60.0
    drain: Annotated[float, Option(
        "Seconds that sessions may go on when the server is told to stop.", readers.seconds,
    )] = 10.0
    preload: Annotated[tuple[str, ...], Option(
        "Import this Python module before any session; ale_py is always imported if installed (may be repeated).",
        readers.module,
    )] = ()
    setup: Annotated[str | None, Option(
        "Run this Python file before any session, for instance to register environments of your own.",
        readers.python_file,
    )] = None
    allow: Annotated[tuple[str, ...], Option(
        "Allow only environment ids like 'ALE/*'; 'module:*' lets clients import that module (may be repeated).",
    )] = ()
    kwargs: Annotated[str, Option(
        "Which keyword arguments clients may give to environments: 'plain' allows numbers, and strings that are not "
        "paths (with --allow, none that replaces a string of the registration); names such as 'frameskip,obs_type' "
        "allow only those, with any value; 'none' allows none; 'all' lets clients name any file of this machine to "
        "an environment that opens it.", readers.kwarg_names,
    )] = PLAIN
    attributes: Annotated[str, Option(
        "Which attributes of their environments clients may reach: 'plain' lets them read numbers, arrays and strings "
        "that are not paths, change those that exist to others of the same kind, call get_action_meanings, "
        "action_masks and the like, and use all that an environment declares in its metadata; names such as "
        "'plain,set_level,_frameskip' allow these as well, with any value and any call; 'all' allows every name "
        "without an underscore, so clients run any method that an environment has; 'none' allows none.",
        readers.attribute_names,
    )] = PLAIN
    wrappers: Annotated[str, Option(
        "Which wrappers clients may put around their environments, and around vector environments, at the server: "
        "'gymnasium' allows Gymnasium's own that take numbers and names, but none that takes a function, writes files "
        "or opens a window; names such as "
        "'gymnasium,mypackage.wrappers:Mine' allow those, import that module, and give the class the arguments that a "
        "client chooses, but no paths; 'none' allows none.", readers.wrapper_names,
    )] = GYMNASIUM
    seed: Annotated[int | None, Option(
        "Seed every session with this number, so that the same actions give the same episodes.",
        readers.integer(0, 2**63 - 1),
    )] = None
    check_observations: Annotated[bool, Option(
        "Check the dtype and the bounds of every observation, which costs time, and log the first one of a session "
        "that is not in its space. Shapes are always checked.",
    )] = False
    monitor_root: Annotated[str | None, Option(
        "Clients may record statistics and videos below this directory, and remove earlier recordings there, but "
        "nowhere else (default: the directory the server is started in).", readers.directory,
    )] = None
    record_quota: Annotated[int, Option(
        "MiB that the datasets of recorded episodes may have on disk, all together; they are in the directory "
        "`datasets` of --monitor-root. 0 means no limit.", readers.integer(0, _MOST),
    )] = 10_000
    rest_shutdown: Annotated[bool, Option(
        "Let clients of gym-http-api shut this server down (POST /v1/shutdown/).",
    )] = False
    display: Annotated[bool, Option(
        "Let any client open windows on this server's screen; without this, what clients render is not shown.",
    )] = False
    debuggable: Annotated[bool, Option(
        "Let debuggers attach to sessions, and crashes leave core files; every process of the server's user, other "
        "sessions among them, can then read a session's memory.",
    )] = False
    poll: Annotated[float, Option(
        "Microseconds that the process of a session polls for the next request before it sleeps and has to be "
        "woken up, where that is measured to be faster and a core is free; 0 means never.", readers.microseconds,
    )] = 500.0
    no_shared_memory: Annotated[bool, Option(
        "Exchange everything with clients on this machine through their sockets, as with others.",
    )] = False
    log_format: Annotated[str, Option(
        "Write the log as 'text' for people, as 'json', one object a line, or to the 'journal' of systemd, "
        "with the same fields; 'auto' means 'journal' if standard output is the journal, and 'text' otherwise.",
        readers.log_format,
    )] = "auto"
    log_size: Annotated[int, Option(
        "Megabytes at which the file of twistd's --logfile is rotated; 0 means never, for logrotate.",
        readers.integer(0, _MOST),
    )] = 1
    log_keep: Annotated[int, Option(
        "Keep this many rotated files of the log, and remove older ones; 0 means all.", readers.integer(0, _MOST),
    )] = 100
    place: Annotated[str, Option(
        "Where sessions run: 'local' is this machine; 'ray' the nodes of the Ray cluster that this machine is in, and "
        "ADDRESS:PORT or ray://HOST:PORT another cluster. Whoever is in the cluster's network can read what this "
        "server and the nodes exchange.", readers.place,
    )] = "local"
    place_strategy: Annotated[str, Option(
        "With --place ray, whether to 'spread' sessions over nodes, or to 'pack' them on as few as possible.",
        readers.strategy,
    )] = "spread"
    session_cpus: Annotated[float, Option(
        "With --place ray, CPUs of Ray's count that a session takes: a node has room for as many sessions as this fits "
        "into its CPUs.", readers.resource,
    )] = 1.0
    session_gpus: Annotated[float, Option(
        "With --place ray, GPUs that a session takes, a part of one or whole ones; it sees no others.", readers.gpus,
    )] = 0.0
    session_resource: Annotated[tuple[str, ...], Option(
        "With --place ray, another resource of the cluster that a session takes, such as simulator=1 (may be "
        "repeated).",
        readers.named_resource,
    )] = ()
    session_needs: Annotated[str, Option(
        "With --place ray, what sessions of some environments take, and the labels of nodes that may have them, as an "
        "object of JSON by patterns of ids, or a table in the file of --config: {'ALE/*': {'gpus': 0.5}} with double "
        "quotes. The keys are cpus, gpus, resources and labels; the first pattern that matches counts.",
        readers.needs,
    )] = "{}"
    cluster_grows: Annotated[bool, Option(
        "With --place ray, let clients wait for nodes that are not there: Ray's autoscaler adds them. Without this, a "
        "client is refused whose session no node has been large enough for.",
    )] = False
    rest_after: Annotated[float, Option(
        "With --cluster-grows, seconds after which the server has no process on a node without sessions, so that Ray's "
        "autoscaler can remove it; 0 means never.", readers.seconds,
    )] = 60.0
    runtime_env: Annotated[str | None, Option(
        "With --place ray, let Ray prepare nodes as this JSON file says, for instance {\"pip\": [\"minigrid\"]}.",
        readers.json_file,
    )] = None
    start_method: Annotated[str, Option(
        "How the process of a session starts: 'forkserver' takes milliseconds, 'spawn' starts a new Python for each, "
        "for code that does not survive a fork.", readers.start_method,
    )] = "forkserver"
    spawn: Annotated[tuple[str, ...], Option(
        "Start a new Python for each session of environment ids like 'jumanji/*' that do not survive a fork (may be "
        "repeated).",
    )] = ()
    # fmt: on

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The endpoint descriptions to listen on."""
        return tuple(map(readers.endpoint, (self.port, *self.listen, *self.listen_http)))

    @property
    def limits_text(self) -> str:
        """A summary of the session limits, for people."""
        limits = [f"{self.max_sessions} sessions at once, {self.queue} more wait"]
        times = (
            ("of silence", self.idle_timeout),
            ("for a step", self.step_timeout),
            ("for a request", self.request_timeout),
        )
        limits += [f"{seconds:g} s {what}" for what, seconds in times if seconds]
        limits += [f"{self.memory_limit} MiB of memory each" if self.memory_limit else "no limit of memory"]
        return ", ".join(limits)

    @property
    def users_of_sessions(self) -> range | None:
        """The range of user ids for sessions; None if sessions run as the server's user."""
        first, _, last = self.session_users.partition("-")
        return range(int(first), int(last) + 1) if self.isolate.has_user else None

    @property
    def control_socket(self) -> str | None:
        """The path of the control socket, if there is one; by default, it is in systemd's RuntimeDirectory=."""
        directory = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        return self.control or (os.path.join(directory, "control") if directory else None)

    def changeable_settings(self) -> dict[str, Any]:
        """Return the worker settings that may differ between sessions."""
        names = ("allow", "kwargs", "attributes", "wrappers", "max_envs", "max_snapshots")
        return {name: getattr(self, name) for name in names} | {"limits": self._limits}

    @property
    def _limits(self) -> SessionLimits:
        return SessionLimits(idle=self.idle_timeout, step=self.step_timeout)

    def worker_settings(self) -> WorkerSettings:
        """Return the options for workers, in the units that workers use."""
        named_alike = {name: getattr(self, name) for name in WorkerSettings.__struct_fields__ if hasattr(self, name)}
        return WorkerSettings(
            **named_alike
            | {
                "monitor_root": self.monitor_root or readers.directory(os.getcwd()),
                "memory_limit": self.memory_limit * 2**20,
                "file_size_limit": self.file_size_limit * 2**20,
                "record_quota": self.record_quota * 2**20,
                "trial_users": (users[0], users[-1]) if (users := self.users_of_sessions) else None,
                "disk_limit": self.disk_limit * 2**20,
                "process_limit": self.process_limit or (_PROCESSES_OF_A_USER if self.isolate.has_user else 0),
                "session_writes": (*self.session_writes, *filter(None, [self.monitor_root])),
                "poll": self.poll / 1e6,
                "shared_memory": not self.no_shared_memory,
                "limits": self._limits,
            }
        )

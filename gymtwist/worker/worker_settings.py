"""The operator's options that concern environments, as a process below the server gets them on its command line.

This module imports no NumPy: OpenBLAS reads its environment variables when NumPy is imported, and the settings come
first.
"""

from __future__ import annotations

import enum

import msgspec

#: Rules for keyword arguments and attributes; the alternative is a list of names.
PLAIN, ALL, NONE = "plain", "all", "none"
#: The wrappers of Gymnasium that are allowed by default.
GYMNASIUM = "gymnasium"


class Isolation(str, enum.Enum):
    """From what the process of a session is kept; see docs/explanation/security.md."""

    LIMITS = "limits"
    FILES = "files"
    USER = "user"
    ALL = "all"

    def __str__(self) -> str:
        """Return the level as the operator writes it."""
        return self.value

    @property
    def has_files(self) -> bool:
        """Whether it has only the files, ports and processes that it needs."""
        return self in (Isolation.FILES, Isolation.ALL)

    @property
    def has_user(self) -> bool:
        """Whether it has a user and directories of its own."""
        return self in (Isolation.USER, Isolation.ALL)


class SessionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a session that its client is informed of; the server enforces them.

    Attributes:
        idle: Seconds that a client may be silent; 0 for no limit.
        step: Seconds that an environment may take for one command; 0 for no limit.
    """

    idle: float = 0.0
    step: float = 0.0


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of ``twistd gymsock`` that concern workers.

    Attributes:
        preload: Modules to import before any session.
        setup: A Python file to run before any session, or None.
        monitor_root: The absolute path of the directory under which clients may record.
        record_quota: Bytes that datasets may have on disk, all together; 0 means no limit.
        identity_record_quota: Bytes that those of the client's identity may have; 0 means no limit.
        identity: The name of the client's identity; empty if it has none.
        display: Whether environments may open windows on the server's screen.
        seed: The seed of every session, or None.
        memory_limit: Bytes of memory that a session's processes may hold together; 0 means no limit.
        process_limit: Processes and threads that a session may have with a control group of its own; otherwise those
            that the server's user may have for a session to start one more. 0 means no limit.
        file_size_limit: Bytes of the largest file that a session may write; 0 means no limit.
        open_file_limit: Files that each process of a session may have open; 0 means no limit of their own.
        disk_limit: Bytes that a session may write to the directories that are its own; for :attr:`Isolation.has_user`.
        isolate: From what a session's process is kept.
        control_groups: The path of the control group that has those of sessions; empty if they have none.
        trial_users: The first and the last id of the users that sessions may have; None if they have the server's.
        session_reads: Files and directories that a session may read, besides Python's and the system's.
        session_writes: Files and directories that a session may write, besides its own.
        session_connects: TCP ports that a session may connect to.
        debuggable: Whether other processes of the server's user may read the memory of sessions.
        limits: The limits of sessions, as reported to clients.
        allow: The environments that clients may use; see :class:`~gymtwist.worker.access_policy.AllowList`.
        spawn: The environments that only processes serve that were not forked.
        kwargs: The keyword arguments that clients may pass; see :class:`~gymtwist.worker.access_policy.KwargPolicy`.
        attributes: The attributes of environments that clients may reach; see
            :class:`~gymtwist.worker.access_policy.AttributePolicy`.
        wrappers: The wrappers that clients may ask for; see :class:`~gymtwist.worker.access_policy.WrapperPolicy`.
        check_observations: Whether to warn of observations with another dtype than their space, or outside its bounds.
        shared_memory: Whether clients on this host may share memory with their worker.
        max_envs: The most environments of one session.
        max_frame: Bytes of the longest request.
        max_snapshots: The most snapshots that a session may hold.
        poll: Seconds to poll a socket or shared memory for a request before blocking.
        gpus: The ids of the GPUs that a session sees, separated by commas; None for those that the server sees.
    """

    preload: tuple[str, ...] = ()
    setup: str | None = None
    monitor_root: str
    record_quota: int = 0
    identity_record_quota: int = 0
    identity: str = ""
    display: bool = False
    seed: int | None = None
    memory_limit: int = 0
    process_limit: int = 0
    file_size_limit: int = 0
    open_file_limit: int = 0
    disk_limit: int = 256 * 2**20
    isolate: Isolation = Isolation.LIMITS
    control_groups: str = ""
    trial_users: tuple[int, int] | None = None
    session_reads: tuple[str, ...] = ()
    session_writes: tuple[str, ...] = ()
    session_connects: tuple[int, ...] = ()
    debuggable: bool = False
    limits: SessionLimits = SessionLimits()
    allow: tuple[str, ...] = ()
    spawn: tuple[str, ...] = ()
    kwargs: str = PLAIN
    attributes: str = PLAIN
    wrappers: str = GYMNASIUM
    check_observations: bool = False
    shared_memory: bool = True
    max_envs: int = 1024
    max_frame: int = 16 * 2**20
    max_snapshots: int = 100
    poll: float = 500e-6
    gpus: str | None = None

    def memory_problem(self, operation: str) -> str:
        """Say that an environment ran out of memory, and of how much of it.

        Args:
            operation: What it was doing.
        """
        problem = f"the environment ran out of memory in {operation}"
        if not self.memory_limit:
            return problem
        return f"{problem}; a session's processes may hold {self.memory_limit >> 20} MiB together (--memory-limit)"

    def with_overrides(self, overrides: bytes) -> WorkerSettings:
        """Return these settings with others for one session.

        Args:
            overrides: A JSON object with the settings that differ.
        """
        if not overrides:
            return self
        return msgspec.convert(msgspec.to_builtins(self) | msgspec.json.decode(overrides), WorkerSettings)

    def to_argument(self) -> str:
        """Write the settings as one command-line argument."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_argument(cls, argument: str) -> WorkerSettings:
        """Read what :meth:`to_argument` wrote."""
        return msgspec.json.decode(argument, type=cls)

"""The operator's options that concern environments, passed to processes below the server on the command line.

This module does not import NumPy: OpenBLAS reads its environment variables when NumPy is imported, and must find them
set.
"""

from __future__ import annotations

import enum

import msgspec

#: Rules for keyword arguments and attributes; the alternative is a list of names.
PLAIN, ALL, NONE = "plain", "all", "none"
#: The rule that allows Gymnasium's wrappers, the default.
GYMNASIUM = "gymnasium"


class Isolation(str, enum.Enum):
    """The isolation level of a session's process; see docs/explanation/security.md."""

    LIMITS = "limits"
    FILES = "files"
    USER = "user"
    ALL = "all"

    def __str__(self) -> str:
        """Return the level as the operator writes it."""
        return self.value

    @property
    def has_files(self) -> bool:
        """Whether the process has only the files, ports and processes that it needs."""
        return self in (Isolation.FILES, Isolation.ALL)

    @property
    def has_user(self) -> bool:
        """Whether the process has a user and directories of its own."""
        return self in (Isolation.USER, Isolation.ALL)


class SessionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a session that its client is told; the server enforces them.

    Attributes:
        idle: Seconds that a client may send nothing; 0 for no limit.
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
        record_quota: Bytes that all datasets together may take on disk; 0 means no limit.
        identity_record_quota: Bytes that the datasets of the client's identity may take on disk; 0 means no limit.
        identity: The name of the client's identity; empty if it has none.
        display: Whether environments may open windows on the server's screen.
        seed: The seed of every session, or None.
        memory_limit: Bytes of memory that a session's processes may hold together; 0 means no limit.
        process_limit: Processes and threads that a session may have if it has a control group; otherwise, how many the
            server's user may have in all before sessions cannot start more. 0 means no limit.
        file_size_limit: Maximum bytes of a file that a session writes; 0 means no limit.
        open_file_limit: Files that each process of a session may have open; 0 means no limit of gymtwist's own.
        disk_limit: Bytes that a session may write to its own directories; only with :attr:`Isolation.has_user`.
        isolate: The isolation level of a session's process.
        control_groups: The path of the control group that contains those of sessions; empty if sessions have none.
        trial_users: The first and the last id of the users of sessions; None if sessions run as the server's user.
        session_reads: Files and directories that a session may read, besides Python's and the system's.
        session_writes: Files and directories that a session may write, besides its own.
        session_connects: TCP ports that a session may connect to.
        debuggable: Whether other processes of the server's user may read the memory of sessions.
        limits: The limits of sessions, as reported to clients.
        allow: The environments that clients may use; see :class:`~gymtwist.worker.access_policy.AllowList`.
        spawn: The environments that must be served by processes that were not forked.
        kwargs: The keyword arguments that clients may pass; see :class:`~gymtwist.worker.access_policy.KwargPolicy`.
        attributes: The attributes of environments that clients may reach; see
            :class:`~gymtwist.worker.access_policy.AttributePolicy`.
        wrappers: The wrappers that clients may ask for; see :class:`~gymtwist.worker.access_policy.WrapperPolicy`.
        check_observations: Whether to warn of observations that do not have their space's dtype, or are out of its
            bounds.
        shared_memory: Whether clients on this host may share memory with their worker.
        max_envs: The maximum number of environments of a session.
        max_frame: The maximum size of a request in bytes.
        max_snapshots: The maximum number of snapshots that a session may hold.
        poll: Seconds to poll a socket or shared memory for a request before blocking.
        gpus: The ids of the GPUs that a session sees, separated by commas; None for all that the server sees.
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
        """Return a clause that an environment ran out of memory, with the limit.

        Args:
            operation: The operation that it was performing.
        """
        problem = f"the environment ran out of memory in {operation}"
        if not self.memory_limit:
            return problem
        return f"{problem}; a session's processes may hold {self.memory_limit >> 20} MiB together (--memory-limit)"

    def with_overrides(self, overrides: bytes) -> WorkerSettings:
        """Return these settings with those of one session.

        Args:
            overrides: A JSON object with the settings that differ.
        """
        if not overrides:
            return self
        return msgspec.convert(msgspec.to_builtins(self) | msgspec.json.decode(overrides), WorkerSettings)

    def to_argument(self) -> str:
        """Encode the settings as one command-line argument."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_argument(cls, argument: str) -> WorkerSettings:
        """Decode what :meth:`to_argument` encoded."""
        return msgspec.json.decode(argument, type=cls)

"""An environment that attacks the server and other sessions: a file for `twistd gymsock --setup`.

Each attack gets its targets with the options of a reset, and raises an exception if it is prevented. Its name is that
of a row in docs/explanation/security.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvCreator

from tests.support.plain_environment import Plain

#: From <linux/ptrace.h>.
_PTRACE_DETACH, _PTRACE_SEIZE = 17, 0x4206
_MEBIBYTE = 2**20
#: More than any limit of a test, and no more than the kernel allows of open files.
_MANY = 2**20


def _raised(kind: int) -> None:
    """Try to get rid of a limit first, as root can."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (_MANY, _MANY))


def gain_privileges() -> None:
    """Run a program as the user who owns it."""
    program = Path("id")
    shutil.copy(shutil.which("id") or "id", program)
    os.chown(program, 65534, 65534)
    program.chmod(0o6755)
    if subprocess.run(["./id", "-u"], stdout=subprocess.PIPE, check=True).stdout.strip() != b"65534":
        raise PermissionError("it ran as the user who started it")


def leave_core_file() -> None:
    """Allow the kernel to write the memory of this process to a file."""
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def read_memory(process: int) -> None:
    """Read the memory of another process."""
    first = Path(f"/proc/{process}/maps").read_text().partition("-")[0]
    with open(f"/proc/{process}/mem", "rb", 0) as memory:
        memory.seek(int(first, 16))
        memory.read(16)


def trace(process: int) -> None:
    """Attach to another process as a debugger does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(_PTRACE_SEIZE, process, None, None):
        raise OSError(ctypes.get_errno(), "ptrace")
    os.kill(process, 0)


def send_signal(process: int) -> None:
    """Send a signal, which only asks whether that would be permitted."""
    os.kill(process, 0)


def read_file(path: str) -> None:
    """Read a file."""
    Path(path).read_bytes()


def write_file(path: str) -> None:
    """Create a file."""
    Path(path).write_text("overwritten")


def change_file(path: str) -> None:
    """Change a file that there is."""
    with open(path, "r+") as file:
        file.write("changed")


def ask_control(path: str) -> None:
    """Ask for the sessions at the control socket, by a process of its own."""
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(b'GET /api/sessions HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "sys.exit(b' 200 ' not in s.recv(100))"
    )
    if subprocess.run([sys.executable, "-c", program, path], check=False).returncode:
        raise PermissionError("it was refused")


def connect_to(address: str) -> None:
    """Connect to a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)


def connect_tcp(port: int) -> None:
    """Connect to a TCP port of this machine."""
    socket.create_connection(("127.0.0.1", port)).close()


def listen_tcp() -> None:
    """Open a TCP port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))


def send_udp(port: int) -> None:
    """Send a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.sendto(b"datagram", ("127.0.0.1", port))


def fill_memory(limit: int) -> None:
    """Allocate more memory than allowed."""
    np.ones(limit + _MEBIBYTE, np.uint8)


def fill_file(limit: int) -> None:
    """Write a file that is larger than allowed."""
    _raised(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("large", "wb", 0) as file:
        file.truncate(limit + 1)


def fill_disk(limit: int) -> None:
    """Write more than allowed, to files of a mebibyte."""
    try:
        for number in range(limit // _MEBIBYTE + 1):
            Path(f"file-{number}").write_bytes(bytes(_MEBIBYTE))
    finally:
        for file in Path().glob("file-*"):
            file.unlink()


def fill_descriptors(limit: int) -> None:
    """Open more files than allowed."""
    _raised(resource.RLIMIT_NOFILE)
    files: list[int] = []
    try:
        files += (os.open(os.devnull, os.O_RDONLY) for _ in range(limit + 1))
    finally:
        for each in files:
            os.close(each)


def fill_process_table(limit: int) -> None:
    """Start more processes than allowed."""
    _raised(resource.RLIMIT_NPROC)
    started: list[int] = []
    try:
        for _ in range(limit + 1):
            pid = os.fork()
            if pid == 0:
                time.sleep(1000)
            started.append(pid)
    finally:
        for pid in started:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def outlive_session() -> int:
    """Leave a process that is nobody's child, and in no group of ours; return its id."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writer, str(os.getpid()).encode())
            time.sleep(1000)
        os._exit(0)
    os.waitpid(pid, 0)
    return int(os.read(reader, 100))


def leave_control_group() -> None:
    """Take a limit from the control group that this process is in."""
    name = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
    Path(f"/sys/fs/cgroup{name}/pids.max").write_text("max")


def survive_lack_of_memory() -> None:
    """Have the kernel kill the server instead when memory runs out."""
    Path("/proc/self/oom_score_adj").write_text("-900")


def leave_process_and_die() -> None:
    """Leave a process as :func:`outlive_session` does, and end in a way that lets nobody clean up."""
    outlive_session()
    os.kill(os.getpid(), signal.SIGKILL)


def start_processes(count: int) -> list[int]:
    """Start processes that stay; return their ids."""
    started = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            time.sleep(1000)
        started.append(pid)
    return started


def list_processes(process: int) -> None:
    """Read the command line of another process."""
    if not Path(f"/proc/{process}/cmdline").read_bytes():
        raise PermissionError("there is none")


def list_descriptors() -> list[str]:
    """Return what this process has open."""
    found = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        with contextlib.suppress(OSError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return found


def make_file(path: str) -> str:
    """Create a file that others may not read; return its absolute path."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    return os.path.abspath(path)


#: The attacks, by the names of their rows.
ATTACKS: dict[str, Callable[..., Any]] = {
    "gain-privileges": gain_privileges,
    "leave-core-file": leave_core_file,
    "survive-lack-of-memory": survive_lack_of_memory,
    "outlive-session": outlive_session,
    "leave-control-group": leave_control_group,
    "open-control-socket": ask_control,
    "fill-memory": fill_memory,
    "fill-file": fill_file,
    "fill-descriptors": fill_descriptors,
    "fill-process-table": fill_process_table,
    "fill-disk": fill_disk,
    "read-session-memory": read_memory,
    "signal-session": send_signal,
    "read-session-files": read_file,
    "read-session-shared-memory": read_file,
    "trace-server": trace,
    "signal-server": send_signal,
    "read-server-files": read_file,
    "write-server-files": write_file,
    "change-temporary-files": change_file,
    "connect-to-path": connect_to,
    "connect-to-abstract-name": connect_to,
    "connect-by-tcp": connect_tcp,
    "listen-by-tcp": listen_tcp,
    "send-by-udp": send_udp,
    "list-processes": list_processes,
}
#: What tests let other sessions do.
DEEDS: dict[str, Callable[..., Any]] = {
    "leave-process-and-die": leave_process_and_die,
    "list-descriptors": list_descriptors,
    "make-file": make_file,
    "start-processes": start_processes,
}


class Attacking(Plain):
    """Attacks in a reset."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Do what the options say, and tell how that went."""
        observation, _ = super().reset(seed=seed)
        arguments = dict(options or {})
        attack = arguments.pop("attack", "")
        if not attack:
            return observation, {}
        try:
            return observation, {"prevented": "", "result": (ATTACKS | DEEDS)[attack](**arguments)}
        except (OSError, MemoryError, ValueError) as error:
            return observation, {"prevented": repr(error), "result": None}


gymnasium.register("Attack-v0", cast(EnvCreator, Attacking))

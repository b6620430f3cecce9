"""How this server was started, so that it can be started again."""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from gymtwist.server.server_log import log

#: Options of ``twistd`` that the new process does not need: it inherits the user, the umask and the directory of a
#: daemon, and gets the PID file and the log file in other ways.
_REPLACED = frozenset(
    {
        *("-n", "--nodaemon", "--pidfile", "-l", "--logfile", "-d", "--rundir"),
        *("-u", "--uid", "-g", "--gid", "--euid", "--umask"),
    }
)


class Relaunch(NamedTuple):
    """How to start the server again.

    Attributes:
        command: The command and its arguments.
        directory: The directory in which the server was started.
        in_chroot: Whether the server has changed its root directory, and so no longer finds its files.
        takes_rundir: Whether the command has the option ``--rundir``.
        twistd: The options of ``twistd``; its ``pidfile`` is the file that it removes at exit.
    """

    command: list[str]
    directory: str
    in_chroot: bool
    takes_rundir: bool
    twistd: Any

    def words(self) -> list[str]:
        """Return the command and its arguments, with the server's current directory."""
        rundir = [f"--rundir={os.getcwd()}"] if self.takes_rundir else []
        place = self.command.index("gymsock")
        return [*self.command[:place], *rundir, *self.command[place:]]


def relaunch_of(
    runner: Any, words: Sequence[str], arguments: Sequence[str] = (), original: Sequence[str] = ()
) -> Relaunch | None:
    """Return how to start the server again; None if neither ``twistd`` nor ``twist`` runs it.

    Args:
        runner: The options of ``twistd`` or ``twist``; None if something else runs the server.
        words: The options of ``gymsock``, with absolute paths.
        arguments: The arguments of the program; ``sys.argv`` by default.
        original: The arguments of the interpreter; ``sys.orig_argv`` by default.
    """
    if runner is None:
        return None
    arguments, original = arguments or sys.argv, original or sys.orig_argv
    options, rest = getopt.getopt(list(arguments[1:]), runner.shortOpt, runner.longOpt)
    interpreter = list(original[1 : len(original) - len(arguments) + 1])
    kept: list[str] = []
    for name, value in options:
        if name in _REPLACED:
            continue
        if not name.startswith("--"):
            kept += [name, value] if value else [name]
        else:
            kept.append(f"{name}={value}" if f"{name[2:]}=" in runner.longOpt else name)
    is_twistd = "nodaemon" in runner
    if is_twistd:
        kept += ["--nodaemon", "--pidfile="]
        if _logs_to_file(runner):
            kept.append(f"--logfile={os.path.abspath(runner['logfile'] or 'twistd.log')}")
    return Relaunch(
        [sys.executable, *interpreter, *kept, rest[0], *words],
        os.getcwd(),
        in_chroot=bool(is_twistd and runner["chroot"]),
        takes_rundir=is_twistd,
        twistd=runner,
    )


def _logs_to_file(twistd: Any) -> bool:
    if twistd["logger"] or twistd["syslog"]:
        return False
    return not (twistd["nodaemon"] and twistd["logfile"] in (None, "", "-"))


def write_pidfile(relaunch: Relaunch, path: str) -> None:
    """Write this process's id to the PID file of the process it replaces; twistd removes the file at exit."""
    new = f"{path}.new"
    try:
        with open(new, "w") as file:
            file.write(str(os.getpid()))
        os.replace(new, path)
    except OSError as error:
        log.warn(
            "[upgrade] the pidfile cannot be written, and has the number of a process that does not have the ports "
            "any more: {error}",
            error=error,
        )
    else:
        relaunch.twistd["pidfile"] = path

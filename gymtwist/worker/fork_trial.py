"""Trials of environments in forked processes, for a fork server in which imported modules have started threads.

A forked process has none of these threads. Code that waits for one of them, or for a lock that one held, waits forever.
JAX does so; NumPy and SDL do not. A trial therefore uses an environment once to find out if it works.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable

from gymtwist.envs import environment_plan, registry
from gymtwist.envs.environment_options import EnvironmentOptions
from gymtwist.envs.installed import module_of, with_loaded_package
from gymtwist.envs.registry import RegisteredEnvironment
from gymtwist.errors import EnvironmentRefused
from gymtwist.worker import process_control, started_threads
from gymtwist.worker.access_policy import AllowList, is_among
from gymtwist.worker.worker_settings import WorkerSettings

#: Seconds in which a trial may use no processor time; a deadlock uses none, a compiler uses some.
IDLE_LIMIT = 10.0
#: Seconds that all trials together may take.
_LIMIT = 60.0
_AT_ONCE = 4
_INTERVAL = 0.02
#: The exit status of a trial in which the environment raised an exception, which proves nothing.
_RAISED = 3
#: Whether this process is a fork server, or was forked by one.
_is_forked = False
#: The ids of environments that do not respond; Gym's begin with ``gym:``.
_refused: set[str] = set()


class _Trial:
    """A forked process that uses an environment once.

    Args:
        environment: The id.
        directory: Its working directory.
    """

    def __init__(self, environment: str, directory: str) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            status = _RAISED
            try:
                _use(environment, directory)
                status = 0
            finally:
                os._exit(status)
        self._used = 0
        self._used_at = time.monotonic()

    def has_ended(self) -> int | None:
        """Return the exit status if the process has ended, and kill what it started; return None if it runs."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        self.end()
        return ended.si_status

    def is_stuck(self, limit: float) -> bool:
        """Return whether the process has used no processor time for this many seconds."""
        now, used = (
            time.monotonic(),
            sum(map(process_control.processor_ticks, [self.pid, *process_control.children(self.pid)])),
        )
        if used != self._used:
            self._used, self._used_at = used, now
        return now - self._used_at > limit

    def end(self) -> None:
        """Kill the process and the processes that it started."""
        os.kill(self.pid, signal.SIGKILL)  # it may not lead a group yet
        process_control.kill_group(self.pid)
        os.waitpid(self.pid, 0)


def _use(environment: str, directory: str) -> None:
    """Make an environment, reset it and take a step."""
    os.setsid()
    os.chdir(directory)
    process_control.set_parent_death_signal(signal.SIGKILL)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)
    made = environment_plan.plan(registry.find(environment), EnvironmentOptions()).make()
    made.reset()
    made.step(made.action_space.sample())


def prepare(registered: Iterable[str], settings: WorkerSettings) -> None:
    """Prepare to fork processes that serve environments, and print what the operator must know.

    Args:
        registered: The ids that the operator's modules have registered.
        settings: The operator's options.
    """
    global _is_forked
    _is_forked = True
    if not started_threads.found:
        return
    print(f"modules started threads, which no forked session has: {started_threads.describe()}", flush=True)
    allowed = AllowList(settings.allow).allows
    tried = [
        each for each in with_loaded_package().union(registered) if allowed(each) and not is_among(settings.spawn, each)
    ]
    if refused := try_all(tried, min(IDLE_LIMIT, settings.limits.step or IDLE_LIMIT)):
        print(
            f"these environments do not respond in a forked process, and are refused: {', '.join(refused)}; serve them "
            "with --spawn ID, or all with --start-method spawn",
            flush=True,
        )


def try_all(environments: Iterable[str], idle_limit: float = IDLE_LIMIT) -> list[str]:
    """Try one environment of each module, or more if it raises; :func:`check` refuses those that do not respond.

    Args:
        environments: The ids to try.
        idle_limit: Seconds in which a trial may use no processor time.

    Returns:
        The ids that are refused.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for each in sorted(environments):
        groups[module_of(registry.find(each).spec.entry_point)].append(each)
    with contextlib.ExitStack() as stack:
        directory = "."
        with contextlib.suppress(OSError):  # no space, or no directory to write to
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="gymtwist-trial-"))
        _try_groups(groups, idle_limit, directory)
    return sorted(_refused)


def _try_groups(groups: dict[str, list[str]], idle_limit: float, directory: str) -> None:
    """Try groups of ids; each group gets one verdict."""
    untried = {module: list(ids) for module, ids in groups.items()}
    waiting, running = list(groups), dict[str, _Trial]()
    deadline = time.monotonic() + _LIMIT
    while waiting or running:
        while waiting and len(running) < _AT_ONCE:
            module = waiting.pop(0)
            running[module] = _Trial(untried[module].pop(0), directory)
        time.sleep(_INTERVAL)
        overdue = time.monotonic() > deadline
        for module, trial in list(running.items()):
            if (status := trial.has_ended()) is not None:
                del running[module]
                if status == _RAISED and untried[module]:
                    waiting.append(module)
            elif overdue or trial.is_stuck(idle_limit):
                trial.end()
                del running[module]
                _refused.update(groups[module])
        if overdue:
            break


def check(registered: RegisteredEnvironment, settings: WorkerSettings) -> None:
    """Check that an environment may be used in this process, if it was forked.

    Raises:
        EnvironmentRefused: It has failed its trial, or the operator has chosen fresh processes for it.
    """
    name = registered.spec.id
    whole = f"gym:{name}" if registered.of_gym else name
    if not _is_forked:
        return
    if is_among(settings.spawn, whole):
        raise EnvironmentRefused(
            f'environment "{name}" is served only by fresh processes: open another connection, and ask for it there '
            "first, by this id"
        )
    if whole in _refused:
        raise EnvironmentRefused(
            f'environment "{name}" does not work in a forked process: modules imported before the fork started threads '
            f"({started_threads.describe()}), which it waits for; the operator of the server can start a new Python "
            f"for each of its sessions (--spawn '{name}'), or for all (--start-method spawn)"
        )

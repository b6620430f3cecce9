"""The commands of ``python -m gymtwist`` that ask a server: ls, ping, play and bench."""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import os
import re
import statistics
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from gymtwist.client.api import connect, connect_vec
from gymtwist.client.client_errors import RemoteError
from gymtwist.client.connect_options import token_or_default
from gymtwist.client.server_listing import listed, open_session
from gymtwist.error_texts import printable
from gymtwist.protocol import messages

#: How many actions are sampled before a measurement.
_ACTIONS = 256
#: What a rendered text may contain besides printable characters: colours and line ends.
_COLOURS = re.compile(r"(\x1b\[[\d;]*m|\n)")


def run(given: argparse.Namespace) -> int:
    """Run a command; return its exit status.

    Args:
        given: The arguments of the command line.
    """
    if given.address.isascii() and given.address.isdigit():
        given.address = int(given.address)
    options = {
        **{"protocol": given.protocol, "timeout": given.timeout, "connect_timeout": given.connect_timeout},
        "tls": given.certificate,
    }
    try:
        _COMMANDS[given.command](given, options)
        sys.stdout.flush()
    except BrokenPipeError:  # for example, ``head`` closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (RemoteError, ValueError) as error:
        print(f"python -m gymtwist {given.command}: {error}", file=sys.stderr)
        return 1 if isinstance(error, RemoteError) else 2
    return 0


def _ls(given: argparse.Namespace, options: dict[str, Any]) -> None:
    session = open_session(given.address, **options)
    found = [each for each in listed(session) if fnmatch.fnmatchcase(each.id, given.pattern)]
    session.connection.close()
    columns = [_cells(each) for each in found]
    widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
    for cells in columns:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def _cells(env: messages.ListedEnv) -> list[str]:
    return [
        printable(env.id),
        printable(env.library),
        "no step limit" if env.max_episode_steps is None else f"{env.max_episode_steps} steps",
        "" if env.reward_threshold is None else f"solved at {env.reward_threshold:g}",
        "nondeterministic" if env.nondeterministic else "",
    ]


def _ping(given: argparse.Namespace, options: dict[str, Any]) -> None:
    start = perf_counter()
    session = open_session(given.address, **options)
    connected = perf_counter()
    # The first reply comes when a process has taken the session and looked up its environments.
    first = messages.Envs(count=0, report_queue=True, token=token_or_default(None))
    server = session.ask_for_list(first).server
    begun = perf_counter()
    print(
        f"{session.connection.name}: {printable(server)}; connected in {1e3 * (connected - start):.2f} ms, "
        f"first reply {1e3 * (begun - connected):.2f} ms later",
        flush=True,
    )
    times = []
    for _ in range(given.count):
        start = perf_counter()
        session.ask(messages.Envs(count=0), messages.EnvsListed)
        times.append(1e3 * (perf_counter() - start))
    session.connection.close()
    print(
        f"{given.count} round trips: {min(times):.3f} ms at least, median {statistics.median(times):.3f} ms, "
        f"{max(times):.3f} ms at most"
    )


def _play(given: argparse.Namespace, options: dict[str, Any]) -> None:
    mode = "ansi" if given.render else None
    with connect(given.address, given.environment, render_mode=mode, kwargs=given.kwargs, **options) as env:
        env.action_space.seed(given.seed)
        for episode in range(given.episodes):
            env.reset(seed=None if given.seed is None else given.seed + episode)
            total: Any = 0.0
            count, terminated, truncated = 0, False, False
            while not (terminated or truncated) and count < given.steps:
                _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
                total = total + np.asarray(reward)
                count += 1
                if given.render:
                    print(shown_text(env.render()), end="\n\n")
            end = "terminated" if terminated else "truncated" if truncated else "not ended"
            shown = " ".join(f"{each:g}" for each in np.ravel(total))
            print(f"episode {episode + 1}: return {shown}, {count} steps, {end}", flush=True)


def shown_text(frame: Any) -> str:
    """Make a rendered text safe to print: a server must not control the terminal."""
    if not isinstance(frame, str):
        return f"no text: {type(frame).__name__}"
    parts = _COLOURS.split(frame.rstrip("\n"))
    return "".join(part if _COLOURS.fullmatch(part) else printable(part) for part in parts)


def _bench(given: argparse.Namespace, options: dict[str, Any]) -> None:
    if given.num_envs is None and given.processes != 1:
        raise ValueError("--processes is for several environments: say how many with --num-envs")
    make: Any = connect
    if given.num_envs is not None:
        options = {**options, "num_envs": given.num_envs, "processes": given.processes}
        make = connect_vec
    with make(given.address, given.environment, kwargs=given.kwargs, info="none", **options) as env:
        env.action_space.seed(1)
        actions = itertools.cycle([env.action_space.sample() for _ in range(_ACTIONS)])
        env.reset(seed=1)
        count = 0
        start = perf_counter()
        passed = 0.0
        while not count or passed < given.seconds:
            _, _, terminated, truncated, _ = env.step(next(actions))
            if given.num_envs is None and (terminated or truncated):
                env.reset()
            count += 1
            passed = perf_counter() - start
    rate, several = count / passed, given.num_envs
    more = "" if several is None else f" of {several} environments together, {several * rate:,.0f} of a single one"
    print(f"{printable(given.environment)}: {rate:,.0f} steps/s{more} ({count:,} steps in {passed:.1f} s)")


_COMMANDS: dict[str, Callable[[argparse.Namespace, dict[str, Any]], None]] = {
    "ls": _ls,
    "ping": _ping,
    "play": _play,
    "bench": _bench,
}

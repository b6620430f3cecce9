"""The command ``python -m gymtwist``: checks environments before they are served, and queries servers."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
from functools import partial
from typing import Any

_EPILOG = (
    "Exit status: 0 if everything would be served, and seeds give the same episodes; 1 if not all of it, see the lines "
    "with 'problem'; 2 if an environment cannot be made or played, or the command line is wrong."
)
_CLIENT_EPILOG = (
    "Exit status: 0 if all went well; 1 if the server cannot be reached or refuses, or the environment fails; 2 if the "
    "command line is wrong."
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m gymtwist", description="Check environments, and ask servers (twistd gymsock)."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check",
        help="check whether and how environments would be served",
        description="Make each environment as a session would, play episodes, and report what was found.",
        epilog=_EPILOG,
    )
    check.add_argument("environment", metavar="ID", nargs="+", help="an id, as clients send it")
    check.add_argument("--preload", metavar="MODULE", action="append", default=[], help="as of twistd gymsock")
    check.add_argument("--setup", metavar="FILE", help="as of twistd gymsock")
    check.add_argument("--kwargs", metavar="JSON", type=_object, default={}, help="keyword arguments, an object")
    check.add_argument(
        "--seed", metavar="N", type=partial(_integer, 0), default=1, help="the seed of the episodes; %(default)s"
    )
    check.add_argument(
        "--steps", metavar="N", type=partial(_integer, 1), default=200, help="most steps of an episode; %(default)s"
    )
    _add_client_commands(commands)
    given = parser.parse_args(arguments)
    if given.command == "check":
        if importlib.util.find_spec("gymtwist.worker") is None:
            check.error("the server is not installed here: install gymtwist, not gymtwist-client alone")
        return _check(given)
    from gymtwist.client import commands as client_commands

    return client_commands.run(given)


def _check(given: argparse.Namespace) -> int:
    from gymtwist.worker import preload
    from gymtwist.worker.worker_settings import WorkerSettings

    settings = WorkerSettings(
        monitor_root=os.getcwd(),
        preload=tuple(given.preload),
        setup=given.setup,
        kwargs="all",
        check_observations=True,
    )
    preload.prepare_environment_variables()
    preload.preload(settings)
    # It imports NumPy, which reads environment variables.
    from gymtwist.worker import environment_check

    status = 0
    for environment in given.environment:
        report = environment_check.check(environment, settings, kwargs=given.kwargs, seed=given.seed, steps=given.steps)
        print("\n".join(report.lines()), flush=True)
        status = max(status, report.status)
    return status


def _add_client_commands(commands: Any) -> None:
    """Add the commands that query a server."""
    count = partial(_integer, 1)
    server = argparse.ArgumentParser(add_help=False)
    server.add_argument(
        "address",
        metavar="ADDRESS",
        help="the server's address: a port, host:port, tls:host:port, unix:path, ws://host:port or wss://host/path",
    )
    server.add_argument(
        "--connect-timeout", metavar="S", type=float, default=3.0, help="seconds to wait for the server; %(default)g"
    )
    server.add_argument(
        "--timeout", metavar="S", type=float, default=600.0, help="seconds to wait for a reply; %(default)g"
    )
    server.add_argument("--certificate", metavar="FILE", help="use TLS, and trust the certificates in this file")
    server.add_argument("--protocol", choices=("int32", "netstring"), default="int32", help="%(default)s")
    environment = argparse.ArgumentParser(add_help=False)
    environment.add_argument("environment", metavar="ID", help="the environment's id")
    environment.add_argument(
        "--kwargs", metavar="JSON", type=_object, default={}, help="its keyword arguments, an object"
    )

    def add(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=_CLIENT_EPILOG,
            parents=[server, *parents],
        )
        return added

    ls = add("ls", "list the environments of a server")
    ls.add_argument("pattern", metavar="PATTERN", nargs="?", default="*", help="list only ids like this: 'ALE/*'")
    ping = add("ping", "measure the time of a round trip to a worker of a server")
    ping.add_argument("--count", metavar="N", type=count, default=100, help="round trips; %(default)s")
    play = add("play", "play episodes with random actions", environment)
    play.add_argument("--episodes", metavar="N", type=count, default=1, help="%(default)s")
    play.add_argument("--steps", metavar="N", type=count, default=10_000, help="most steps of an episode; %(default)s")
    play.add_argument(
        "--seed", metavar="N", type=partial(_integer, 0), help="the seed of the first episode, and of the actions"
    )
    play.add_argument("--render", action="store_true", help="print each step, if the environment renders text")
    bench = add("bench", "measure the steps per second", environment)
    bench.add_argument("--seconds", metavar="S", type=_seconds, default=3.0, help="how long; %(default)g")
    bench.add_argument("--num-envs", metavar="N", type=count, help="so many environments that step together")
    bench.add_argument("--processes", metavar="N", type=count, default=1, help="which share them; %(default)s")


def _integer(least: int, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {least}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0.0:  # also false for NaN
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an object in JSON; expected one such as '{{\"frameskip\": 4}}'"
        )
    return value


if __name__ == "__main__":
    if "PYTHONHASHSEED" not in os.environ:  # as in a worker; it is read when Python starts
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "gymtwist", *sys.argv[1:]])
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # no traceback, but still die by SIGINT, so that a shell loop ends, too
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)

"""The command ``python -m gymtwist``: checks whether and how environments would be served."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from gymtwist.worker import preload
from gymtwist.worker.worker_settings import WorkerSettings

_EPILOG = (
    "Exit status: 0 if everything would be served, and seeds give the same episodes; 1 if not all of it, see the lines "
    "with 'problem'; 2 if an environment cannot be made or played, or the command line is wrong."
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m gymtwist", description="Tools around the server, twistd gymsock.")
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
    check.add_argument("--seed", metavar="N", type=int, default=1, help="the seed of the episodes; %(default)s")
    check.add_argument("--steps", metavar="N", type=int, default=200, help="most steps of an episode; %(default)s")
    given = parser.parse_args(arguments)
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


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not an object; expected one such as '{{\"frameskip\": 4}}'")
    return value


if __name__ == "__main__":
    if "PYTHONHASHSEED" not in os.environ:  # as in a worker; it is read when Python starts
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "gymtwist", *sys.argv[1:]])
    sys.exit(main(sys.argv[1:]))

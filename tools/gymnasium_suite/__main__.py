"""Run Gymnasium's own tests with remote environments. Further arguments go to pytest."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gymnasium

from tests.support.server_process import ServerProcess
from tools.gymnasium_suite.expected_failures import EXPECTED

REPOSITORY = Path(__file__).resolve().parents[2]
GYMNASIUM = "https://github.com/Farama-Foundation/Gymnasium"
PLUGIN = "tools.gymnasium_suite.remote_plugin"
#: What a file has in it if it makes registered environments.
MAKES = re.compile(r"\bmake(_vec|_env)?\(|testing_env_specs|testing_initialised_envs")


def fetch(cache: Path) -> Path:
    """Return a checkout of Gymnasium's repository at the installed version; the first time it is cloned."""
    tag = f"v{gymnasium.__version__}"
    checkout = cache / tag
    if not checkout.exists():
        subprocess.run(
            ["git", "clone", "--quiet", "--depth", "1", "--branch", tag, GYMNASIUM, str(checkout)], check=True
        )
    return checkout


def run(directory: Path, arguments: list[str], outcomes: Path, port: int | None) -> dict[str, list[str]]:
    """Run the tests in a directory; return the outcome and the message of each."""
    path = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "conformance")))
    variables = {**os.environ, "PYTHONPATH": path, "SUITE_OUTCOMES": str(outcomes), "SDL_VIDEODRIVER": "dummy"}
    if port is not None:
        variables["SUITE_PORT"] = str(port)
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        PLUGIN,
        "-p",
        "no:cacheprovider",
        "--no-header",
        "-W",
        "ignore",
    ]
    # In processes of their own: where nothing can draw, a test of rendering ends its process.
    words += ["--tb=line", "--continue-on-collection-errors", "--numprocesses", "2", "--max-worker-restart", "50"]
    done = subprocess.run([*words, *arguments], cwd=directory, env=variables, check=False)
    if not outcomes.exists() or done.returncode not in (0, 1):
        sys.exit(f"pytest ended with status {done.returncode}")
    found: dict[str, list[str]] = json.loads(outcomes.read_text())
    return found


def reason(test: str) -> str | None:
    """Return why a test is expected to fail; None if it is not."""
    found = (why for why, patterns in EXPECTED.items() if any(fnmatch.fnmatchcase(test, each) for each in patterns))
    return next(found, None)


def report(local: dict[str, list[str]], remote: dict[str, list[str]]) -> int:
    """Print what passes with local environments alone; return the number of unexpected failures."""
    failed = {
        test for test, (outcome, _) in local.items() if outcome == "passed" and remote.get(test, [""])[0] != "passed"
    }
    expected = {test: why for test in failed if (why := reason(test)) is not None}
    passed = sum(outcome == "passed" for outcome, _ in remote.values())
    print(
        f"{passed} of {sum(outcome == 'passed' for outcome, _ in local.values())} tests pass with remote environments"
    )
    for why in sorted(set(expected.values())):
        print(f"{list(expected.values()).count(why)} fail as expected: {why}")
    unexpected = sorted(failed - expected.keys())
    for test in unexpected:
        outcome, message = remote.get(test, ["missing", ""])
        print(f"{outcome.upper()} {test}: {message}")
    return len(unexpected)


def main() -> None:
    """Run the tests twice, and compare."""
    parser = argparse.ArgumentParser(prog="python -m tools.gymnasium_suite", description=__doc__)
    parser.add_argument("--suite", type=Path, help="a checkout of Gymnasium's repository; cloned without it")
    options, arguments = parser.parse_known_args()
    cache = REPOSITORY / ".gymnasium-tests"
    suite = options.suite or fetch(cache)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        shutil.copytree(suite / "tests", directory / "tests")
        (directory / "pytest.ini").write_text("[pytest]\n")
        files = sorted(
            str(path.relative_to(directory)) for path in directory.rglob("test_*.py") if MAKES.search(path.read_text())
        )
        arguments = [*files, *arguments] if not any(each.startswith("tests/") for each in arguments) else arguments
        local = run(directory, arguments, directory / "local.json", None)
        # The server prints its log at its end.
        with (
            contextlib.redirect_stdout(io.StringIO()),
            ServerProcess(
                directory, "--kwargs", "all", "--attributes", "all", "--max-sessions", "400", setup=None
            ) as server,
        ):
            remote = run(directory, arguments, directory / "remote.json", server.port)
    sys.exit(1 if report(local, remote) else 0)


if __name__ == "__main__":
    main()

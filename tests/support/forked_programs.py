"""Runs Python programs in forks of an interpreter that has imported what costs most: ``forked_programs.py MODULE...``.

A program finds hardly anything that it would not find in an interpreter of its own: this module, and the libraries that
it imports anyway, are already in memory.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.patience import PATIENCE

REPOSITORY = Path(__file__).resolve().parents[2]


class Ended(NamedTuple):
    """A program that has ended.

    Attributes:
        status: Its exit status, negative for a signal.
        output: What it wrote to the standard output.
        errors: What it wrote to the standard error.
    """

    status: int
    output: str
    errors: str


class Programs:
    """Runs one program after the other. Leaving its context ends the interpreter."""

    def __init__(self, directory: Path, *modules: str, changes: Mapping[str, str] | None = None) -> None:
        """Start the interpreter.

        Args:
            directory: Where outputs are kept.
            modules: What to import before programs run: libraries from elsewhere, and none of ours.
            changes: Environment variables to set beside ours.
        """
        self._written = directory / "output", directory / "errors"
        self._modules, self._variables = modules, {**os.environ, **(changes or {})}
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked_programs", *self._modules],
            cwd=REPOSITORY,
            env=self._variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Programs:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the interpreter."""
        self._process.communicate(timeout=PATIENCE)

    def run(self, directory: Path, *words: str, patience: float = PATIENCE) -> Ended:
        """Run a program.

        Args:
            directory: The directory to run it in.
            words: What stands behind the name of the interpreter: a file or ``-m MODULE``, and the program's own words.
            patience: Seconds to wait for its end.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps([str(directory), list(map(str, self._written)), words]), file=stdin, flush=True)
        if not select.select([stdout], [], [], patience)[0]:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = self._start()  # others shall not fail for this one
            raise AssertionError(
                f"{words} still runs after {patience:g} s: {[each.read_text() for each in self._written]}"
            )
        status = int(stdout.readline())
        output, errors = (each.read_text(errors="replace") for each in self._written)
        return Ended(status, output, errors)


def main() -> None:
    """Import, and run what is asked for."""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    # The last collection of a program would touch, and so copy, all that it shares with this process.
    gc.freeze()
    # Unbuffered: what is read ahead would be read by forks, too.
    with open(0, "rb", buffering=0, closefd=False) as requests:
        while line := requests.readline():
            directory, written, words = json.loads(line)
            process = os.fork()
            if process == 0:
                os.chdir(directory)
                become(written, words)
                return
            print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


def become(written: list[str], words: list[str]) -> None:
    """Run a program as the main module of this process, with files as its standard output and error."""
    for number, name in enumerate([os.devnull, *written]):
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    if words[0] == "-m":
        sys.argv[:] = words[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return
    sys.argv[:] = words
    sys.path[0] = str(Path(words[0]).resolve().parent)
    # As long as the interpreter lives, unlike with runpy: threads and exit functions still need it.
    module: Any = types.ModuleType("__main__")
    module.__file__ = words[0]
    sys.modules["__main__"] = module
    exec(compile(Path(words[0]).read_bytes(), words[0], "exec"), vars(module))


if __name__ == "__main__":
    main()

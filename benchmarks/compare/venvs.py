"""Builds the virtual environments in which contenders run, and keeps them for the next time."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from compare.contender import REPOSITORY, Contender

#: Seconds that installing one contender's requirements may take.
_PATIENCE = 1800
_STAMP = "installed"
_LIST = """
import importlib.metadata, json, re
found = ((each.metadata["Name"], each.version) for each in importlib.metadata.distributions())
print(json.dumps({re.sub("[-_.]+", "-", name).lower(): version for name, version in sorted(found)}))
"""


class CannotInstall(Exception):
    """A contender cannot run on this machine; the text says why."""


def interpreter(contender: Contender) -> str:
    """Find a Python on which the contender installs: this one, or another that is there.

    Raises:
        CannotInstall: There is none.
    """
    if contender.pythons is None:
        return sys.executable
    oldest, newest = contender.pythons
    if oldest <= sys.version_info[:2] <= newest:
        return sys.executable
    for minor in range(newest[1], oldest[1] - 1, -1):
        if found := shutil.which(f"python{newest[0]}.{minor}"):
            return found
    raise CannotInstall(f"it needs Python {'.'.join(map(str, oldest))} to {'.'.join(map(str, newest))}")


def directory_name(contender: Contender, python: str) -> str:
    """Name the directory of a virtual environment: the same for the same requirements and the same Python."""
    wanted = json.dumps([contender.requirements, contender.optional, python])
    first = contender.requirements[0] if contender.requirements else "bare"
    word = re.sub(r"[^a-z0-9]+", "-", first.lower()).strip("-")
    return f"{word}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def build(contender: Contender, directory: Path, say: Callable[[str], None]) -> Path:
    """Make the virtual environment of a contender, unless it is there.

    Args:
        contender: Whose it is.
        directory: Where all of them are.
        say: Is told what is done.

    Returns:
        Its interpreter.

    Raises:
        CannotInstall: The requirements cannot be installed.
    """
    base = interpreter(contender)
    venv = directory.absolute() / directory_name(contender, base)
    python, stamp = venv / "bin" / "python", venv / _STAMP
    if stamp.exists():
        return python
    say(f"installing {', '.join(contender.requirements) or 'nothing'} for {contender.title} (once, into {venv})")
    wanted = contender.requirements or contender.optional
    run([base, "-m", "venv", "--clear", *([] if wanted else ["--without-pip"]), str(venv)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if contender.requirements:
        run([*pip, *_words(contender.requirements)])
    missing = []
    for requirement in contender.optional:
        try:
            run([*pip, *_words((requirement,))])
        except CannotInstall as error:
            say(f"  without {requirement}: {error}")
            missing.append(requirement)
    stamp.write_text(json.dumps({"requirements": contender.requirements, "missing": missing}) + "\n")
    return python


def packages(python: Path) -> dict[str, str]:
    """List what is installed in a virtual environment, by name in lower case and with hyphens, with versions."""
    run = subprocess.run([str(python), "-I", "-c", _LIST], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(run.stdout)
    return found


def _words(requirements: tuple[str, ...]) -> list[str]:
    """Write requirements as pip has them: the repository itself as one that is editable, so that it is never stale."""
    found = []
    for requirement in requirements:
        found += ["--editable", f"{REPOSITORY}{requirement[1:]}"] if requirement.startswith(".") else [requirement]
    return found


def run(words: list[str]) -> None:
    """Run a command.

    Raises:
        CannotInstall: It fails; the text is the first line with an error.
    """
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotInstall(str(error)) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        errors = [line for line in lines if "error" in line.lower()] or lines or ["pip failed"]
        raise CannotInstall(errors[0])

"""Build the virtual environments of the contenders, and keep them for the next time."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from gymtwist_benchmarks.contenders import REPOSITORY, Contender

#: Seconds that installing one contender's requirements may take.
_PATIENCE = 1800
#: A file in an environment that is complete.
_STAMP = "installed"
_LIST = """
import importlib.metadata, json, re
found = ((each.metadata["Name"], each.version) for each in importlib.metadata.distributions())
print(json.dumps({re.sub("[-_.]+", "-", name).lower(): version for name, version in sorted(found)}))
"""
#: Parts of a checkout that its build does not need.
_IGNORED = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")


class CannotInstall(Exception):
    """A contender cannot be installed on this machine; the text says why."""


def directory_name(contender: Contender) -> str:
    """Name the directory of a virtual environment: the same for the same requirements and the same Python."""
    wanted = json.dumps([contender.requirements, contender.optional, sys.executable])
    first = contender.requirements[0] if contender.requirements else "bare"
    word = re.sub(r"[^a-z0-9]+", "-", first.lower()).strip("-")
    return f"{word}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"


def build(contender: Contender, directory: Path, say: Callable[[str], None]) -> Path:
    """Make the virtual environment of a contender in a directory, unless it is there; return its interpreter.

    Raises:
        CannotInstall: The requirements cannot be installed.
    """
    venv = directory.absolute() / directory_name(contender)
    python, stamp = venv / "bin" / "python", venv / _STAMP
    if stamp.exists():
        return python
    say(f"installing {', '.join(contender.requirements) or 'nothing'} for {contender.title} (once, into {venv})")
    _make(venv, with_pip=bool(contender.requirements))
    if contender.requirements:
        _install(python, contender.requirements)
    missing = []
    for requirement in contender.optional:
        try:
            _install(python, (requirement,))
        except CannotInstall as error:
            say(f"  without {requirement}: {error}")
            missing.append(requirement)
    stamp.write_text(json.dumps({"requirements": contender.requirements, "missing": missing}) + "\n")
    return python


def build_tree(tree: Path, name: str, directory: Path) -> Path:
    """Install a checkout of gymtwist, with Atari, into the virtual environment of a name; return its interpreter.

    It is installed anew each time, from a copy, because building leaves files.

    Raises:
        CannotInstall: It cannot be installed.
    """
    venv = directory.absolute() / name
    python = venv / "bin" / "python"
    if not python.exists():
        _make(venv, with_pip=True)
    with tempfile.TemporaryDirectory(prefix="gymtwist-bench-") as copied:
        copy = Path(copied, "gymtwist")
        shutil.copytree(tree, copy, ignore=_IGNORED, symlinks=True)
        _install(python, (f"{copy}[atari]",))
        # pip keeps an installed version that is the same.
        _install(python, ("--force-reinstall", "--no-deps", str(copy)))
    return python


def packages(python: Path) -> dict[str, str]:
    """Return the versions of the packages in a virtual environment, by name in lower case and with hyphens."""
    listed = subprocess.run([str(python), "-I", "-c", _LIST], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(listed.stdout)
    return found


def _make(venv: Path, *, with_pip: bool) -> None:
    _run([sys.executable, "-m", "venv", "--clear", *([] if with_pip else ["--without-pip"]), str(venv)])


def _install(python: Path, requirements: Sequence[str]) -> None:
    words = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    for requirement in requirements:
        # This repository is installed as editable, so that it is never stale.
        words += ["--editable", f"{REPOSITORY}{requirement[1:]}"] if requirement.startswith(".") else [requirement]
    _run(words)


def _run(words: Sequence[str]) -> None:
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

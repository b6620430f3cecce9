"""Sessions over several Pythons and dependency sets; for one Python, use the Makefile. `nox --list` shows them."""

from __future__ import annotations

import re
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["lint", "docs", "tests", "conformance"]
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")
SUPPORTED = nox.project.python_versions(PROJECT)
#: A Python that is not declared as supported yet; skipped where it is not installed. Not all extras have wheels for it.
NEXT = "3.15"
ENVIRONMENTS = "atari,video,display,classic-control,mujoco,wrappers,multi-agent"


def install(session: nox.Session, extras: str, *options: str) -> None:
    """Install this project and its conformance suite, both editable."""
    session.install(*options, "--editable", f".[{extras}]", "--editable", "./conformance")


def run_tests(session: nox.Session) -> None:
    """Run the tests as `make test` does, without coverage."""
    workers = ("--numprocesses", "6", "--dist", "loadfile", "--no-loadscope-reorder")
    session.run("python", "-m", "pytest", *workers, *session.posargs)


def lowest_versions() -> list[str]:
    """Return the lower bounds of the project's own dependencies as exact requirements."""
    dependencies = PROJECT["project"]["dependencies"]
    return [re.sub(r"^([\w-]+)(?:\[.*\])?>=", r"\1==", requirement) for requirement in dependencies]


@nox.session(python=[*SUPPORTED, NEXT])
def tests(session: nox.Session) -> None:
    """Run the tests. Arguments after `--` go to pytest."""
    install(session, f"{ENVIRONMENTS},box2d,test")
    run_tests(session)


@nox.session(python=SUPPORTED[0])
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest dependencies that pyproject.toml allows, on the oldest Python."""
    constraints = Path(session.create_tmp(), "lowest.txt")
    constraints.write_text("\n".join(lowest_versions()) + "\n")
    install(session, f"{ENVIRONMENTS},test", "--constraint", str(constraints))
    run_tests(session)


@nox.session(python=SUPPORTED[-1])
def newest(session: nox.Session) -> None:
    """Run the tests with the newest dependencies, pre-releases included, on the newest supported Python."""
    install(session, f"{ENVIRONMENTS},test", "--upgrade", "--upgrade-strategy", "eager", "--pre")
    run_tests(session)


@nox.session(python=SUPPORTED[-1])
def conformance(session: nox.Session) -> None:
    """Run the tests of the conformance suite, which check the server and the clients with it."""
    install(session, "test")
    session.run("python", "-m", "pytest", "tests/conformance", *session.posargs)


@nox.session(python=SUPPORTED[-1])
def lint(session: nox.Session) -> None:
    """Check style, types and spelling with `make lint`."""
    make(session, "lint")


@nox.session(python=SUPPORTED[-1])
def docs(session: nox.Session) -> None:
    """Build the pages with `make docs`."""
    make(session, "docs")


def make(session: nox.Session, target: str) -> None:
    """Run a target of the Makefile in a virtual environment of its own, made with the session's Python."""
    environment = Path(session.virtualenv.location).with_name(f"make-{target}")
    session.run("make", target, f"PYTHON={session.virtualenv.bin}/python", f"VENV={environment}", external=True)

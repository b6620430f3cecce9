"""The pytest plugin: the options that describe a server, and the fixture that the checks use."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest

from gymtwist_conformance.reference_client import ENCODINGS
from gymtwist_conformance.server_checks import name_of
from gymtwist_conformance.server_checks.subject import Options, Subject


def address(text: str) -> tuple[str, int]:
    """Read HOST:PORT."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address; expected one such as 127.0.0.1:5001")
    return host.strip("[]") or "127.0.0.1", int(port)


def seconds(text: str) -> float:
    """Read a number of seconds."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; expected seconds, more than 0 and 1,000,000 at most")
    return number


def count(text: str) -> int:
    """Read a number of environments or sessions."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of them; expected an integer from 0")
    return int(text)


#: The options that describe a server, with the arguments of ``argparse``.
OPTIONS: dict[str, dict[str, Any]] = {
    "--environment": {"metavar": "ID", "help": "has Discrete actions and episodes that end; %(default)s"},
    "--continuous": {"metavar": "ID", "help": "has a Box of actions; '' for none; %(default)s"},
    "--also": {"metavar": "ID", "action": "append", "help": "check its values as well; repeatable"},
    "--raising": {"metavar": "ID", "help": "an environment whose step raises, if there is one"},
    "--exception": {"metavar": "NAME", "help": "Python's built-in exception that it raises, such as ValueError"},
    "--dying": {"metavar": "ID", "help": "an environment whose step ends its process, if there is one"},
    "--vector-rewards": {"metavar": "ID", "help": "an environment whose rewards are arrays, if there is one"},
    "--mirror": {"metavar": "ID", "help": "an environment that returns what it is given, if there is one"},
    "--agents": {"metavar": "ID", "help": "a multi-agent environment with Discrete actions"},
    "--attribute": {"metavar": "NAME", "help": "a number of the first environment that clients may change"},
    "--render-mode": {"metavar": "MODE", "help": "'' for none; %(default)s"},
    "--num-envs": {"metavar": "N", "type": count, "help": "environments of a vector; 0 for no vectors; %(default)s"},
    "--max-sessions": {
        "metavar": "N",
        "type": count,
        "help": "sessions of the server, none of them in use, with a queue for three more clients; 0 if not known",
    },
    "--token": {"metavar": "TEXT", "help": "what the server asks for"},
    "--framing": {"choices": ENCODINGS, "action": "append", "help": "only this one; repeatable"},
    "--only": {"metavar": "NAME", "action": "append", "help": "a check, a theme, or a pattern with *; repeatable"},
    "--patience": {"metavar": "S", "type": seconds, "help": "seconds to wait for a reply; %(default)s"},
}


def add_options(add: Callable[..., object]) -> None:
    """Add the options to a parser; their defaults are those of :class:`Options`.

    Args:
        add: The parser's ``add_argument``, or pytest's ``addoption``.
    """
    for name, arguments in OPTIONS.items():
        repeatable = arguments.get("action") == "append"
        add(name, default=None if repeatable else getattr(Options, name[2:].replace("-", "_")), **arguments)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that describe a server."""
    group = parser.getgroup("gymtwist conformance")
    group.addoption("--server", metavar="HOST:PORT", type=address, help="where the server listens")
    add_options(group.addoption)


def _options(config: pytest.Config) -> Options:
    given = {name: config.getoption(name) for name in Options.__dataclass_fields__}
    if given["server"] is None:
        raise pytest.UsageError("the checks need --server HOST:PORT")
    given["also"], given["framing"] = tuple(given["also"] or ()), tuple(given["framing"] or ENCODINGS)
    return Options(**given)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each check in each framing, one framing after the other."""
    if "subject" in metafunc.fixturenames:
        metafunc.parametrize("encoding", _options(metafunc.config).framing, scope="session")


@pytest.fixture
def subject(pytestconfig: pytest.Config, encoding: str) -> Iterator[Subject]:
    """The server under test, in one framing."""
    with Subject(_options(pytestconfig), encoding) as made:
        yield made


def is_selected(name: str, patterns: list[str]) -> bool:
    """Return whether a check is selected by its name, its theme or a pattern; without patterns, all are."""
    return not patterns or any(fnmatchcase(name, each) or name.startswith(f"{each}.") for each in patterns)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the checks that ``--only`` does not name."""
    patterns, left = config.getoption("only") or [], []
    for item in list(items):
        assert isinstance(item, pytest.Function)
        name = name_of(item.path.stem.removeprefix("check_"), item.originalname)
        if not is_selected(name, patterns):
            items.remove(item)
            left.append(item)
    config.hook.pytest_deselected(items=left)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End with status 2 if nothing was checked, so that a run in which every check is skipped does not succeed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.exitstatus == pytest.ExitCode.OK and reporter is not None and not reporter.stats.get("passed"):
        session.exitstatus = pytest.ExitCode.INTERRUPTED

"""The command line: pytest runs the checks of a server, and the referee judges clients."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from gymtwist_conformance import plugin, referee, server_checks
from gymtwist_conformance.scenarios import SCENARIOS

_STATUS = """\
The exit status is 0 if something was checked and nothing failed, 1 if something failed, 2 if nothing was checked or
the command line is wrong."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gymtwist_conformance",
        description="Check servers and clients of gymtwist's framed protocol.",
        epilog=f"{_STATUS} Each command has a --help of its own.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="server|client")
    server = commands.add_parser(
        "server",
        help="run checks against a running server",
        epilog=f"{_STATUS} All other options are those of pytest, such as --junit-xml=FILE, --exitfirst or --quiet.",
    )
    server.add_argument("address", nargs="?", metavar="HOST:PORT", help="where the server listens", type=plugin.address)
    server.add_argument("--list", action="store_true", help="print the checks and what they require, and end")
    plugin.add_options(server.add_argument)
    client = commands.add_parser(
        "client",
        help="be a server that referees the clients that connect to it",
        epilog=f"{_instructions()}\n\n{_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = client.add_argument
    add("--host", default="127.0.0.1", help="where to listen; %(default)s")
    add("--port", type=_port, default=5002, metavar="N", help="0 for any that is free; %(default)s")
    names = [each.name for each in SCENARIOS]
    add("--scenario", action="append", choices=names, metavar="NAME", help="only this one; repeatable")
    add("--patience", type=plugin.seconds, default=60.0, metavar="S", help="seconds for a request; %(default)s")
    add("--pause", type=float, default=0.001, metavar="S", help="seconds between the pieces of a reply; %(default)s")
    add("--json", action="store_true", help="print one JSON object instead of lines")
    return parser


def _instructions() -> str:
    text = [
        "A client plays each scenario in a connection of its own, in any order; the environment selects the scenario.",
        *(f"{each.name}: {each.task.format(id=each.id)}" for each in SCENARIOS),
    ]
    return "\n\n".join(textwrap.fill(each, 100, subsequent_indent="  ") for each in text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; expected an integer from 0 to 65535")
    return int(text)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        words: The command-line arguments; those of the process by default.

    Returns:
        The exit status.
    """
    parser = _parser()
    arguments, further = parser.parse_known_args(words)
    if arguments.command == "client":
        if further:
            parser.error(f"unrecognized arguments: {' '.join(further)}")
        return _client(arguments)
    checks = server_checks.load_checks()
    selected = {name: check for name, check in checks.items() if plugin.is_selected(name, arguments.only or [])}
    if not selected:
        parser.error(f"no check has the name {' or '.join(arguments.only)}; --list prints the names")
    if arguments.list:
        for name, check in selected.items():
            print(f"{name}: {' '.join((check.__doc__ or '').split())}")
        return 0
    if arguments.address is None:
        parser.error("server needs HOST:PORT")
    return _server(arguments, further)


def _server(arguments: argparse.Namespace, further: list[str]) -> int:
    directory = Path(server_checks.__file__).parent
    host, port = arguments.address
    options = [f"--server=[{host}]:{port}"]
    for name in plugin.OPTIONS:
        value = getattr(arguments, name[2:].replace("-", "_"))
        values = value if isinstance(value, list) else [] if value is None else [value]
        options += [f"{name}={each}" for each in values]
    # The checks are the same wherever they are run: no configuration is read, and nothing is written.
    isolation = ["-c", os.devnull, "--noconftest", "-p", "no:cacheprovider", f"--rootdir={directory}"]
    files = [str(directory / f"check_{theme}.py") for theme in server_checks.THEMES]
    presentation = ["--tb=short", "-rs"]
    status = pytest.main([*isolation, *presentation, *options, *further, *files], plugins=[plugin])
    return int(status) if status in (0, 1) else 2


def _client(arguments: argparse.Namespace) -> int:
    scenarios = {each.id: each for each in SCENARIOS if each.name in (arguments.scenario or [each.name])}
    try:
        listener = referee.listen(arguments.host, arguments.port)
    except OSError as error:
        print(f"cannot listen on port {arguments.port}: {error}", file=sys.stderr)
        return 2
    report = referee.Report(arguments.json)
    with listener:
        # Not to standard output, from which a program reads the results.
        print(f"listening on port {listener.getsockname()[1]}", file=sys.stderr, flush=True)
        try:
            for result in referee.referee_clients(listener, scenarios, arguments.patience, arguments.pause):
                report.add(result)
        except KeyboardInterrupt:
            return report.finish() or 2
    return report.finish()

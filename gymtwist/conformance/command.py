"""The command line of the suite."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Sequence
from functools import partial

from gymtwist.conformance.client.parts import PARTS
from gymtwist.conformance.client.serving import judge_clients, listen
from gymtwist.conformance.encoding import PROTOCOLS
from gymtwist.conformance.report import Report, Result
from gymtwist.conformance.server import runner
from gymtwist.conformance.server.subject import Options

_EPILOG = """\
The exit status is 0 if something was judged and nothing failed, 1 if something failed, 2 if nothing was judged or
the command line is wrong."""


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    whole = argparse.ArgumentParser(
        prog="python -m gymtwist.conformance",
        description="Judge servers and clients of the framed protocol.",
        epilog=f"{_EPILOG}\nEach command has a --help of its own.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="server|client")
    _add_server(commands.add_parser("server", help="run checks against a running server", epilog=_EPILOG))
    _add_client(
        commands.add_parser(
            "client",
            help="play a server that judges the clients that connect to it",
            epilog=f"{scenario()}\n\n{_EPILOG}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    return whole


def _add_server(command: argparse.ArgumentParser) -> None:
    defaults = Options(("", 0))
    add = command.add_argument
    add("address", nargs="?", metavar="HOST:PORT", help="where the server listens", type=_address)
    add("--environment", default=defaults.environment, metavar="ID", help="has Discrete actions, and ends; %(default)s")
    add(
        "--continuous", default=defaults.continuous, metavar="ID", help="has a Box of actions; '' for none; %(default)s"
    )
    add("--also", action="append", default=[], metavar="ID", help="look at its values, too; can be given again")
    add("--raising", default="", metavar="ID", help="an environment whose step raises, if there is one")
    add("--dying", default="", metavar="ID", help="an environment whose step ends its process, if there is one")
    add("--render-mode", default=defaults.render_mode, metavar="MODE", help="'' for none; %(default)s")
    add("--num-envs", type=_count, default=defaults.num_envs, metavar="N", help="0: there are no vectors; %(default)s")
    add("--token", metavar="TEXT", help="what the server asks for")
    add("--framing", action="append", choices=sorted(PROTOCOLS), help="only this one; can be given again")
    add(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a check, a theme, or a pattern with *; again for more",
    )
    add("--list", action="store_true", help="name the checks and what must hold, and end")
    add("--patience", type=_seconds, default=defaults.patience, metavar="S", help="seconds for a reply; %(default)s")
    add("--json", action="store_true", help="print one JSON object instead of lines")


def _add_client(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--host", default="127.0.0.1", help="where to listen; %(default)s")
    add("--port", type=_port, default=5002, metavar="N", help="0 for any that is free; %(default)s")
    add("--part", action="append", choices=[part.name for part in PARTS], help="only this one; can be given again")
    add(
        "--patience",
        type=_seconds,
        default=60.0,
        metavar="S",
        help="seconds for a connection or a request; %(default)s",
    )
    add("--pause", type=float, default=0.001, metavar="S", help="seconds between the pieces of a reply; %(default)s")
    add("--json", action="store_true", help="print one JSON object instead of lines")


def scenario() -> str:
    """Write what a client is to do, part by part."""
    text = [
        "A client plays each part in a connection of its own, in any order; each environment ends the connection.",
        *(f"{part.name}: {part.task.format(id=part.id)}" for part in PARTS),
    ]
    return "\n\n".join(textwrap.fill(each, 100, subsequent_indent="  ") for each in text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no address; expected one such as 127.0.0.1:5001")
    return host.strip("[]") or "127.0.0.1", int(port)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 1e6:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time to wait; expected seconds, more than 0 and 1,000,000 at most"
        )
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of environments; expected an integer from 0")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; expected an integer from 0 to 65535")
    return int(text)


def main(words: Sequence[str]) -> int:
    """Run the command.

    Args:
        words: Of the command line, without the program's name.

    Returns:
        The exit status.
    """
    whole = parser()
    arguments = whole.parse_args(words)
    report = Report(partial(print, flush=True), as_json=arguments.json)
    if arguments.command == "client":
        return _judge_clients(arguments, report)
    checks = runner.chosen(arguments.only)
    if not checks:
        whole.error(f"no check is named {' or '.join(arguments.only)}; --list names them")
    if arguments.list:
        for check in checks:
            print(f"{check.name}: {check.says}")
        return 0
    if arguments.address is None:
        whole.error("server needs HOST:PORT")
    names = [name for name in Options.__dataclass_fields__ if name not in ("address", "also", "framings")]
    options = Options(
        arguments.address,
        also=tuple(arguments.also),
        framings=tuple(PROTOCOLS[name] for name in arguments.framing or PROTOCOLS),
        **{name: getattr(arguments, name) for name in names},
    )
    return _finished(report, runner.results(options, checks))


def _judge_clients(arguments: argparse.Namespace, report: Report) -> int:
    parts = {part.id: part for part in PARTS if not arguments.part or part.name in arguments.part}
    try:
        listener = listen(arguments.host, arguments.port)
    except OSError as error:
        print(f"cannot listen on port {arguments.port}: {error}", file=sys.stderr)
        return 2
    with listener:
        # Not among the results: a program reads those from the standard output.
        print(f"listening on port {listener.getsockname()[1]}", file=sys.stderr, flush=True)
        return _finished(report, judge_clients(listener, parts, arguments.patience, arguments.pause))


def _finished(report: Report, results: Iterable[Result]) -> int:
    """Report results as they come, to the end or until somebody has seen enough; return the exit status."""
    try:
        for result in results:
            report.add(result)
    except KeyboardInterrupt:
        # What is there says nothing of what is not.
        return report.finish() or 2
    return report.finish()

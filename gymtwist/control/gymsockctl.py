"""The command gymsockctl."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import os
import sys
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

from gymtwist.control.control_client import Refused, ask, download

_VARIABLE = "GYMSOCK_CONTROL"
#: Where the systemd unit in the documentation puts the socket.
_DEFAULT = "/run/gymsock/control"
#: Seconds to wait for an upgrade; the server gives up sooner.
_UPGRADE_TIMEOUT = 660.0
#: How many episodes of a session to show.
_SHOWN_EPISODES = 10
_CLEAR = "\x1b[H\x1b[2J"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    Args:
        arguments: The command-line arguments; None for those of this process.
    """
    given = _parser().parse_args(arguments)
    if given.process is not None:
        given.socket += f".{given.process}"
    try:
        given.run(given)
    except Refused as error:
        print(f"gymsockctl: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    except BrokenPipeError:  # such as when the user quits a pager
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gymsockctl",
        description="Control a running server: twistd gymsock --control SOCKET.",
        epilog="Exit status: 0 if all went well, 1 if the server cannot be reached or refuses, 2 if the command line "
        "is wrong.",
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=os.environ.get(_VARIABLE, _DEFAULT),
        help=f"the control socket; by default the value of the variable {_VARIABLE}, or else {_DEFAULT}",
    )
    parser.add_argument(
        "--process",
        metavar="PID",
        type=int,
        help="not the process that has the ports, but this one, which goes on with its sessions after an upgrade",
    )
    parser.add_argument("--json", action="store_true", help="print the server's answer as JSON")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(run=run)
        return added

    add("status", _status, "show the limits, and how much of each is in use")
    sessions = add("sessions", _sessions, "list the running sessions")
    sessions.add_argument("--watch", metavar="S", nargs="?", type=float, const=2.0, help="again every S seconds; 2")
    add("show", _show, "show one session, with its last episodes and output").add_argument("number", type=int)
    end = add("end", _end, "end one session")
    end.add_argument("number", type=int)
    end.add_argument("--reason", default="", help="why, for the log")
    add("drain", _drain, "refuse new sessions, and stop the server when the last one has ended")
    add("reload", _reload, "reload the options of --config, the identities and the certificates")
    add("upgrade", _upgrade, "start a new process, with the code as it is now, that takes over from the running one")
    envs = add("envs", _envs, "list the environments that clients may ask for")
    envs.add_argument("pattern", metavar="PATTERN", nargs="?", default="*", help="list only ids like this: 'ALE/*'")
    datasets = add("datasets", _datasets, "list the datasets of recorded episodes")
    datasets.add_argument("pattern", metavar="PATTERN", nargs="?", default="*", help="only names like this: 'lab/*'")
    export = add("export", _export, "write a dataset into a tar archive, to unpack among Minari's datasets")
    export.add_argument("name", help="the name of the dataset")
    export.add_argument("file", metavar="FILE", help="the archive; - for standard output")
    add("errors", _errors, "show the last errors")
    return parser


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))


def _status(given: argparse.Namespace) -> None:
    status = ask(given.socket, "GET", "/api/status")
    if given.json:
        _print_json(status)
        return
    libraries, nodes, earlier = status.pop("libraries"), status.pop("nodes"), status.pop("earlier_processes")
    waiting = status.pop("waiting", [])  # a server that has not been upgraded yet has none
    rows = [(name.replace("_", " "), _text(name, value)) for name, value in status.items()]
    rows += [("earlier process", f"{process} ({_counted(count, 'session')})") for process, count in earlier.items()]
    rows += [("node", _node(each)) for each in nodes]
    rows += [("waiting", f"{each['count']} for {each['environment'] or 'none'}: {each['lack']}") for each in waiting]
    rows += [("environments", f"{each['environments']} of {each['name']}") for each in libraries]
    _print_table(rows)


def _node(node: dict[str, Any]) -> str:
    shares = {"sessions": node["sessions"], **node.get("resources", {})}
    told = ", ".join(f"{_text(name, share)} {name}" for name, share in shares.items())
    return f"{node['name']}: {told}" + (", resting" if node.get("resting") else "")


def _sessions(given: argparse.Namespace) -> None:
    while True:
        rows = ask(given.socket, "GET", "/api/sessions")["sessions"]
        if given.watch:
            print(end=_CLEAR)
        if given.json:
            _print_json(rows)
        elif rows:
            left_out = {"bytes_sent", "bytes_received"}
            if not any(row["node"] for row in rows):  # the server has no nodes
                left_out.add("node")
            _print_rows([name for name in rows[0] if name not in left_out], rows)
        else:
            print("no sessions are running")
        if not given.watch:
            return
        sys.stdout.flush()
        time.sleep(given.watch)


def _show(given: argparse.Namespace) -> None:
    session = ask(given.socket, "GET", f"/api/sessions/{given.number}")
    if given.json:
        _print_json(session)
        return
    episodes, output = session.pop("last_episodes"), session.pop("output")
    _print_table([(name.replace("_", " "), _text(name, value)) for name, value in session.items()])
    if episodes:
        print("\nlast episodes:")
        _print_rows(list(episodes[0]), episodes[-_SHOWN_EPISODES:])
    if output:
        print("\nlast output:", *output, sep="\n")


def _end(given: argparse.Namespace) -> None:
    answer = ask(given.socket, "POST", f"/api/sessions/{given.number}/end", {"reason": given.reason})
    _print_json(answer) if given.json else print(f"session {given.number} ends when its environment returns")


def _drain(given: argparse.Namespace) -> None:
    answer = ask(given.socket, "POST", "/api/drain")
    _print_json(answer) if given.json else print(
        f"the server stops when all sessions have ended; {answer['sessions']} are running"
    )


def _reload(given: argparse.Namespace) -> None:
    answer = ask(given.socket, "POST", "/api/reload")
    if given.json:
        _print_json(answer)
        return
    ignored = [f"{each} needs an upgrade or a restart" for each in answer["ignored"]]
    print(*(answer["changed"] + ignored or ["nothing has changed"]), sep="\n")


def _upgrade(given: argparse.Namespace) -> None:
    answer = ask(given.socket, "POST", "/api/upgrade", timeout=_UPGRADE_TIMEOUT)
    if given.json:
        _print_json(answer)
        return
    old, count = answer["old_process"], answer["connections"]
    print(f"process {answer['process']} serves now; process {old} ends with its {_counted(count, 'connection')}")
    if count:
        print(f"gymsockctl --process {old} sessions lists its sessions")


def _envs(given: argparse.Namespace) -> None:
    listed = ask(given.socket, "GET", "/api/environments")["environments"]
    found = [each for each in listed if fnmatch.fnmatchcase(each["id"], given.pattern)]
    if given.json:
        _print_json(found)
    for each in () if given.json else found:
        print(each["id"])


def _datasets(given: argparse.Namespace) -> None:
    rows = ask(given.socket, "GET", "/api/datasets")["datasets"]
    rows = [row for row in rows if fnmatch.fnmatchcase(row["name"], given.pattern)]
    if given.json:
        _print_json(rows)
    elif not rows:
        print("there are no datasets")
    else:
        heading = ["size" if name == "bytes" else name for name in rows[0]]
        _print_table([heading, *([_text(name, value) for name, value in row.items()] for row in rows)])


def _export(given: argparse.Namespace) -> None:
    target = f"/api/datasets/{urllib.parse.quote(given.name)}"
    row = ask(given.socket, "GET", target)
    if not row["complete"]:
        print("gymsockctl: not all that was recorded is in the dataset yet", file=sys.stderr)
    if given.file == "-":
        download(given.socket, f"{target}.tar", sys.stdout.buffer)
        return
    part = f"{given.file}.part"
    try:
        with open(part, "wb") as file:
            download(given.socket, f"{target}.tar", file)
        os.replace(part, given.file)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        if isinstance(error, OSError):
            raise Refused(f"{given.file}: {error.strerror}") from error
        raise
    if given.json:
        _print_json(row)
    else:
        print(f"{given.file}: episodes: {row['episodes']}, steps: {row['steps']}")


def _errors(given: argparse.Namespace) -> None:
    errors = ask(given.socket, "GET", "/api/errors")["errors"]
    if given.json:
        _print_json(errors)
    elif not errors:
        print("no errors")
    for each in () if given.json else errors:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each["time"]))
        session = "-" if each["session"] is None else each["session"]
        print(f"{when}  {each['kind']}  session {session}  {each['client']}  {each['message']}")


def _text(name: str, value: Any) -> str:
    """Return a value for people: sizes in MiB, seconds and rates rounded, shares as ``3 of 256``."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        if set(value) == {"taken", "limit"}:
            taken, limit = (
                f"{each:g}" if isinstance(each, float) else each for each in (value["taken"], value["limit"])
            )
            return f"{taken} of {limit}"
        return ", ".join(f"{key} {each}" for key, each in value.items()) or "none"
    if name == "modified":
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
    if name in ("memory", "bytes", "bytes_sent", "bytes_received"):
        return f"{value / 2**20:.1f} MiB"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _print_rows(columns: Sequence[str], rows: Sequence[Any]) -> None:
    """Print selected fields of objects, with a heading."""
    heading = [name.replace("_", " ") for name in columns]
    _print_table([heading, *([_text(name, row[name]) for name in columns] for row in rows)])


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())

"""The command line of ``twistd gymsock``, and the file given with ``--config``.

Both are generated from :class:`~gymtwist.server.server_options.ServerOptions`.
"""

from __future__ import annotations

import os
import re
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.python import usage

from gymtwist.server import config_file, session_needs
from gymtwist.server.handed_over import HANDED_OVER
from gymtwist.server.server_options import Option, ServerOptions
from gymtwist.server.startup_banner import versions

#: The headings of the help, keyed by the first option below each.
_SUBJECTS = {
    "config": "The server",
    "port": "Where to listen",
    "identities": "Who may connect",
    "warm": "Capacity",
    "isolate": "Isolation",
    "opening-timeout": "Timeouts",
    "preload": "Which environments",
    "monitor-root": "What clients may touch",
    "poll": "How sessions wait",
    "no-shared-memory": "Clients on this machine",
    "log-format": "The log",
    "place": "Sessions on a cluster",
    "start-method": "How workers start",
}


def _reader(name: str, option: Option) -> Callable[[str], object]:
    """Return a function that parses an option, for ``usage.Options``."""

    def read(text: str) -> object:
        try:
            return option.read(text)
        except ValueError as error:
            raise usage.UsageError(f"--{name} {text}: {error}") from error

    return read


def _appender(name: str, option: Option) -> Callable[[usage.Options, str], None]:
    """Return a method that parses a repeatable option, for ``usage.Options``."""
    read = _reader(name, option)

    def append(self: usage.Options, text: str) -> None:
        self[name].append(read(text))

    append.__doc__ = option.help
    return append


class Options(usage.Options):
    """The command line of ``twistd gymsock``; see :class:`ServerOptions`."""

    longdesc = (
        "Serve Gymnasium and Gym environments over a socket to clients in any language. Each connection is a session "
        "with a process of its own. Whoever can connect can play, unless --identities says who may. By default only "
        "this machine can connect, clients cannot import modules, and recordings stay below the directory the server "
        "is started in."
    )
    optParameters: list[list[Any]] = []
    optFlags: list[list[Any]] = []
    compData = usage.Completions(
        optActions={"setup": usage.CompleteFiles("*.py"), "monitor-root": usage.CompleteDirs()}
    )

    #: The parsed command line, in a form that can be parsed again in another directory.
    words: Sequence[str] = ()

    def __init__(self) -> None:
        super().__init__()
        for name in _REPEATED:
            self[name] = []

    def getUsage(self, width: int | None = None) -> str:
        """Return the text of ``--help``, grouped by subject where Twisted sorts by name; called by ``twistd``."""
        listed, blank, description = super().getUsage(width).partition("\n\n")
        _, *options = re.split(r"(?m)^(?=  -\w, --|      --)", f"{listed}\n")
        texts = {re.findall(r"--([\w-]+)", text)[0]: text for text in options}
        parts = ["Options:\n", texts.pop("help"), texts.pop("version")]
        for field in msgspec.structs.fields(ServerOptions):
            name = field.name.replace("_", "-")
            parts += [f"\n{_SUBJECTS[name]}:\n"] if name in _SUBJECTS else []
            parts.append(texts.pop(name))
        return "".join([*parts, blank[1:], description])

    def opt_version(self) -> None:
        """Print the versions of gymtwist, Twisted and Python, and exit."""
        print(versions())
        raise SystemExit(0)

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Parse the command line and the ``--config`` file; called by ``twistd``.

        Raises:
            usage.UsageError: A value is invalid, or the working directory does not exist.
        """
        try:
            os.getcwd()
        except OSError as error:
            raise usage.UsageError("the working directory was removed; start in one that exists") from error
        words = sys.argv[1:] if options is None else options
        try:
            self._parse(words)
        except usage.UsageError as error:
            if HANDED_OVER is None or self.parent is None:
                raise
            # The process being replaced shows its operator this line, without a usage text.
            raise SystemExit(str(error)) from error

    def _parse(self, words: list[str]) -> None:
        given = type(self)()
        given.parent = self.parent  # for the first line of --help
        for name, *_ in self.optParameters:
            given[name] = None
        usage.Options.parseOptions(given, words)
        self.words = _words_of(given)
        super().parseOptions([*_words_of_file(given), *self.words])

    def server_options(self) -> ServerOptions:
        """Return the parsed values."""
        flags = {row[0] for row in self.optFlags}  # Twisted stores 0 or 1 for them
        values = {name.replace("-", "_"): bool(value) if name in flags else value for name, value in self.items()}
        return msgspec.convert(values, ServerOptions)


_REPEATED: list[str] = []
#: Options that are tables in a file, and JSON on the command line.
_TABLES = ("session-needs",)
#: Options that are paths; in a file, they are relative to its directory.
_PATHS = (
    *("client-ca", "config", "control", "identities", "session-reads", "session-writes"),
    *("setup", "monitor-root", "runtime-env"),
)


def _words_of(given: Options) -> list[str]:
    """Return a command line as a list of arguments, with absolute paths, since a daemon changes its directory.

    Args:
        given: The options on the command line; the value of an absent option is None.
    """
    flags = {row[0] for row in Options.optFlags}
    words = [f"--{name}" for name in flags if given[name]]
    words += [
        f"--{name}={value}" for name, value in given.items() if name not in (*flags, *_REPEATED) and value is not None
    ]
    return words + [f"--{name}={value}" for name in _REPEATED for value in given[name]]


def _words_of_file(given: Options) -> list[str]:
    """Return the options in the ``--config`` file as command-line arguments.

    Args:
        given: The command line itself. If it has a repeatable option, the file's values of that option are ignored.

    Raises:
        usage.UsageError: The file cannot be read, or something in it is invalid.
    """
    path = given["config"]
    if path is None:
        return []
    flags = {row[0] for row in Options.optFlags}
    words = []
    try:
        for name, value in config_file.read(path, set(given) - {"config"}):
            if name in flags:
                if type(value) is not bool:
                    raise config_file.CannotRead(f"`{name}` must be true or false")
                words += [f"--{name}"] * value
            elif name in _TABLES:
                if not isinstance(value, dict):
                    raise config_file.CannotRead(f"`{name}` must be a table, such as [{name}.'ALE/*']")
                words.append(f"--{name}={session_needs.to_text(value)}")
            elif not _is_of_kind(name, value):
                expected = "a text" if name in _PATHS else "a text or a number"
                if name in _REPEATED:
                    expected = "a list of texts, such as ['one', 'other']"
                raise config_file.CannotRead(f"`{name}` must be {expected}")
            elif not (name in _REPEATED and given[name]):  # others are checked even if the command line overrides them
                texts = value if isinstance(value, list) else [value]
                if name in _PATHS:  # an empty path stays empty
                    texts = [each and os.path.join(os.path.dirname(path), each) for each in texts]
                words += [f"--{name}={each}" for each in texts]
        usage.Options.parseOptions(Options(), words)
    except (ValueError, usage.UsageError) as error:  # including CannotRead
        raise usage.UsageError(f"--config {path}: {error}") from error
    return words


def _is_of_kind(name: str, value: Any) -> bool:
    """Return whether a value in a file has a type that its option takes."""
    if name in _REPEATED:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if name in _PATHS:
        return isinstance(value, str)
    return isinstance(value, (str, int, float)) and type(value) is not bool


def _add_to_command_line(field: msgspec.structs.FieldInfo, annotation: Any) -> None:
    kind, option = typing.get_args(annotation)
    name = field.name.replace("_", "-")
    if kind is bool:
        Options.optFlags.append([name, option.letter, option.help])
    elif typing.get_origin(kind) is tuple:
        _REPEATED.append(name)
        setattr(Options, f"opt_{field.name}", _appender(name, option))
    else:
        Options.optParameters.append([name, option.letter, field.default, option.help, _reader(name, option)])


_annotations = typing.get_type_hints(ServerOptions, include_extras=True)
for _field in msgspec.structs.fields(ServerOptions):
    _add_to_command_line(_field, _annotations[_field.name])

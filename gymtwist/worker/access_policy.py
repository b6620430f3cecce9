"""The access policy: which environment ids and keyword arguments clients may request.

The server checks ids before it assigns a connection to a worker. The worker checks ids and keyword arguments whenever
it makes an environment.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gymtwist.errors import EnvironmentRefused, KwargRefused
from gymtwist.spaces import value_mismatch
from gymtwist.worker.worker_settings import ALL, NONE, PLAIN

#: Prefixes that choose a library; an id without any other colon imports nothing.
_LIBRARIES = ("gym:", "gymnasium:")
#: Longer strings do not name anything that an environment has.
_MOST_PLAIN = 255
#: Keyword arguments that say how often an action is repeated, and the most that a client may ask for.
_REPEATS = frozenset({"frameskip", "frame_skip", "action_repeat", "skip"})
_MOST_REPEATS = 1000


class AllowList:
    """The environment ids that clients may ask for.

    Args:
        patterns: Globs in the syntax of ``fnmatch``. Without any, all ids are allowed but those that import a module.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._patterns = tuple(patterns)

    def check(self, environment: str) -> None:
        """Check an id.

        Raises:
            EnvironmentRefused: The server does not allow it.
        """
        bare = _bare(environment)
        if not bare:
            return
        if ":" in bare:
            # An id like "module:Env-v0" runs code that the client chooses, so neither "*" nor "gym:*" allows it.
            if any(":" in _bare(pattern) and self._matches(pattern, environment, bare) for pattern in self._patterns):
                return
            raise EnvironmentRefused(
                f'environment "{environment}" imports a module, which this server does not allow; ask its operator '
                f"for --allow '{bare}'"
            )
        if self._patterns and not any(self._matches(pattern, environment, bare) for pattern in self._patterns):
            raise EnvironmentRefused(
                f'environment "{environment}" is not allowed on this server; it allows {", ".join(self._patterns)}'
            )

    def check_meant(self, environment: str, meant: str) -> None:
        """Check the id that an id stands for: that of its latest version, or of its successor.

        Args:
            environment: The id that the client sent, which :meth:`check` accepts.
            meant: The id of the environment that would be made.

        Raises:
            EnvironmentRefused: The server does not allow it.
        """
        module, colon, _ = environment.rpartition(":")
        if not self.allows(f"{module}{colon}{meant}"):
            raise EnvironmentRefused(
                f'environment "{environment}" means "{meant}", which is not allowed on this server; it allows '
                f"{', '.join(self._patterns)}"
            )

    def allows(self, environment: str) -> bool:
        """Return whether :meth:`check` accepts an id."""
        try:
            self.check(environment)
        except EnvironmentRefused:
            return False
        return True

    @staticmethod
    def _matches(pattern: str, environment: str, bare: str) -> bool:
        return fnmatch.fnmatchcase(environment, pattern) or fnmatch.fnmatchcase(bare, pattern)


def is_among(patterns: Sequence[str], environment: str) -> bool:
    """Return whether an id matches one of some patterns, as :class:`AllowList` does it."""
    return bool(environment and patterns) and AllowList(patterns).allows(environment)


def _bare(environment: str) -> str:
    """Remove the prefix that chooses a library from an id or a pattern."""
    return next((environment[len(each) :] for each in _LIBRARIES if environment.startswith(each)), environment)


class KwargPolicy:
    """The keyword arguments that clients may pass to environments.

    A constructor may open a file that a keyword argument names, or make a different environment from the one that the
    id stands for. By default, strings that could be paths are therefore refused. If only some ids are allowed, strings
    that would replace a string of the registration are refused, too.

    Args:
        rule: ``plain``, ``all``, ``none``, or a comma-separated list of names that are allowed with any value.
        restricted: Whether only some environments are allowed.
    """

    def __init__(self, rule: str = PLAIN, *, restricted: bool = False) -> None:
        self._rule = rule
        self._restricted = restricted
        self._names = frozenset() if rule in (PLAIN, ALL, NONE) else frozenset(rule.split(","))

    def check(self, kwargs: Mapping[str, Any], registered: Mapping[str, Any]) -> None:
        """Check the keyword arguments of a client.

        Args:
            kwargs: The keyword arguments of the client.
            registered: The keyword arguments of the registration.

        Raises:
            KwargRefused: A keyword argument is not allowed; the message says how the operator can allow it.
        """
        if self._rule == ALL:
            return
        for name, value in kwargs.items():
            if name in self._names:
                continue
            shown = name[:80]
            if self._rule != PLAIN:
                allowed = ", ".join(sorted(self._names)) or "none"
                raise KwargRefused(f'kwarg "{shown}" is not allowed on this server; it allows: {allowed}')
            remedy = f"the operator of the server can allow it with --kwargs {shown}"
            if self._restricted and isinstance(value, str) and isinstance(registered.get(name), str):
                own = value_mismatch.shown(registered[name])
                raise KwargRefused(
                    f'kwarg "{name}" is {own} in this environment; another value could make a different one; {remedy}'
                )
            if name in _REPEATS and any(each > _MOST_REPEATS for each in _numbers(value)):
                raise KwargRefused(
                    f'kwarg "{name}" multiplies the time of a step; send {_MOST_REPEATS} at most; {remedy}'
                )
            path = next(_paths(value), None)
            if path is not None:
                raise KwargRefused(f'kwarg "{shown}" has {value_mismatch.shown(path)}, which could be a path; {remedy}')


def _numbers(value: Any) -> list[Any]:
    value = value.reshape(-1).tolist() if isinstance(value, np.ndarray) else value
    return [each for each in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(each, (int, float))]


def _paths(value: Any) -> Iterator[Any]:
    """Yield the parts of a decoded value that could be the path of a file."""
    if isinstance(value, str):
        if len(value) > _MOST_PLAIN or value.startswith((".", "~")) or any(each in value for each in "/\\\0"):
            yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _paths(key)
            yield from _paths(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _paths(each)
    elif value is not None and not isinstance(value, (bool, int, float, np.ndarray)):
        yield value  # bytes, above all

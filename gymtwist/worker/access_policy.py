"""The access policy: which environment ids, keyword arguments, wrappers and attributes clients may request.

The server checks ids before it assigns a connection to a worker. The worker checks ids, keyword arguments and wrappers
whenever it makes an environment, and each request for an attribute.
"""

from __future__ import annotations

import enum
import fnmatch
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from gymtwist.errors import AttributeRefused, EnvironmentRefused, KwargRefused, WrapperRefused
from gymtwist.protocol.make_messages import Wrapper
from gymtwist.spaces import value_mismatch
from gymtwist.worker.worker_settings import ALL, GYMNASIUM, NONE, PLAIN

#: Prefixes that choose a library; an id with no other colon imports nothing.
_LIBRARIES = ("gym:", "gymnasium:")
#: No environment has anything whose name is longer than this.
_MOST_PLAIN = 255
#: The Gymnasium wrappers that need only numbers and names. The others take functions, write files, open windows,
#: collect frames without a limit, or (Autoreset) begin episodes unknown to the session.
GYMNASIUM_WRAPPERS = frozenset(
    {
        *("AddRenderObservation", "AddWhiteNoise", "AtariPreprocessing", "ClipAction", "ClipReward"),
        *("DelayObservation", "DiscretizeAction", "DiscretizeObservation", "DtypeObservation", "FilterObservation"),
        *("FlattenObservation", "FrameStackObservation", "GrayscaleObservation", "MaxAndSkipObservation"),
        *("NormalizeObservation", "NormalizeReward", "ObstructView", "RecordEpisodeStatistics", "RepeatAction"),
        *("RescaleAction", "RescaleObservation", "ReshapeObservation", "ResizeObservation", "StickyAction"),
        *("TimeAwareObservation", "TimeLimit"),
    }
)
#: The subset that vector environments also have.
GYMNASIUM_VECTOR_WRAPPERS = frozenset(
    {
        *("ClipAction", "ClipReward", "DtypeObservation", "FilterObservation", "FlattenObservation"),
        *("GrayscaleObservation", "NormalizeObservation", "NormalizeReward", "RecordEpisodeStatistics"),
        *("RescaleAction", "RescaleObservation", "ReshapeObservation", "ResizeObservation"),
    }
)
#: The module of a wrapper named by its class alone, for each field of a make request.
_WRAPPERS_MODULES = {"wrappers": "gymnasium.wrappers:", "vector_wrappers": "gymnasium.wrappers.vector:"}
_KNOWN_WRAPPERS = {"wrappers": GYMNASIUM_WRAPPERS, "vector_wrappers": GYMNASIUM_VECTOR_WRAPPERS}
#: Keyword arguments that set how often an action is repeated, and the highest value that a client may send.
_REPEATS = frozenset({"frameskip", "frame_skip", "action_repeat", "skip"})
_REPEATS_OF_WRAPPERS = _REPEATS | {"num_repeats", "noop_max", "stack_size"}
_MOST_REPEATS = 1000
#: Methods with names that are conventional among libraries, which only compute something.
CONVENTIONAL = frozenset(
    {
        *("get_action_meanings", "get_keys_to_action", "action_masks"),
        *("compute_reward", "compute_terminated", "compute_truncated"),
    }
)
#: Methods that would change a session without its knowledge, or bypass the policy.
_UNCALLABLE = frozenset(
    {"reset", "step", "close", "render", "get_wrapper_attr", "set_wrapper_attr", "has_wrapper_attr", "wrapper_spec"}
)
#: Attributes that the reply to make has told the client, and those by which wrappers find the environment.
_FIXED = frozenset(
    {
        *("action_space", "observation_space", "reward_space", "metadata", "render_mode", "spec", "np_random"),
        *("env", "unwrapped", "max_episode_steps"),
    }
)


class AllowList:
    """The environment ids that clients may ask for.

    Args:
        patterns: Globs in the syntax of ``fnmatch``. If empty, all ids are allowed except those that import a module.
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
        """Check the id that another id resolves to: that of the latest version, or of the successor.

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
    """Return whether an id matches one of the patterns, by the rules of :class:`AllowList`."""
    return bool(environment and patterns) and AllowList(patterns).allows(environment)


def _bare(environment: str) -> str:
    """Remove the prefix that chooses a library from an id or a pattern."""
    return next((environment[len(each) :] for each in _LIBRARIES if environment.startswith(each)), environment)


class KwargPolicy:
    """The keyword arguments that clients may pass to environments.

    A constructor may open a file that a keyword argument names, or make a different environment than the id names. By
    default, strings that could be paths are therefore refused. If only some ids are allowed, strings that would replace
    a string of the registration are refused, too.

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


class AttributePolicy:
    """The attributes and methods of environments that clients may reach.

    An environment's methods can run any code, and its attributes can lead to any object. By default, clients may read
    and change plain data, call the methods in :data:`CONVENTIONAL`, and use what the environment declares.

    Args:
        rule: ``none``, or a comma-separated list of ``plain``, ``all`` (every name without a leading underscore), and
            names that are allowed with any value.

    Attributes:
        names: The names in the rule that are allowed with any value.
    """

    def __init__(self, rule: str = PLAIN) -> None:
        words = frozenset(rule.split(","))
        self.names = words - {PLAIN, ALL, NONE}
        self._is_none, self._is_all, self._is_plain = NONE in words, ALL in words, PLAIN in words

    def check_name(self, name: str, declared: frozenset[str]) -> None:
        """Check that clients may use a name at all.

        Args:
            name: The name that the client sent.
            declared: The names that the environment declares.

        Raises:
            AttributeRefused: They may not.
        """
        shown = name[:80]
        if not name.isidentifier():
            raise AttributeRefused(f'"{shown}" is not the name of an attribute: send a single name, without dots')
        if name.startswith("__"):
            raise AttributeRefused(f'remote attribute "{shown}" belongs to Python, and no client can reach it')
        if self._is_none:
            raise AttributeRefused(
                f'remote attribute "{shown}" is not allowed: the server was started with --attributes none'
            )
        if self.is_free(name, declared):
            return
        if name.startswith("_"):
            raise AttributeRefused(f'remote attribute "{shown}" begins with an underscore; {self._remedy(name)}')
        if not self._is_plain:
            allowed = ", ".join(sorted(self.names | declared))
            raise AttributeRefused(f'remote attribute "{shown}" is not allowed on this server; it allows: {allowed}')

    def is_free(self, name: str, declared: frozenset[str]) -> bool:
        """Return whether a client may read and write any value of an attribute, and call it if it is a method."""
        if self._is_none:
            return False
        return name in self.names or name in declared or (self._is_all and not name.startswith("_"))

    def _remedy(self, name: str) -> str:
        before = "all" if self._is_all else ",".join(sorted(self.names | ({PLAIN} if self._is_plain else set())))
        return f"the operator of the server can allow it with --attributes {before},{name[:80]}"

    def may_call(self, name: str, declared: frozenset[str]) -> bool:
        """Return whether a method may be called."""
        return name not in _UNCALLABLE and (self.is_free(name, declared) or name in CONVENTIONAL)

    def check_call(self, name: str, declared: frozenset[str]) -> None:
        """Check that a method may be called.

        Raises:
            AttributeRefused: It may not.
        """
        if name in _UNCALLABLE:
            raise AttributeRefused(
                f'remote method "{name}" cannot be called by its name, as the session must know of it; use the request '
                "or the client's own method for it"
            )
        if not self.may_call(name, declared):
            raise AttributeRefused(f'remote attribute "{name}" is a method; {self._remedy(name)}')

    def check_plain(self, name: str, value: Any, declared: frozenset[str]) -> None:
        """Check a value that is read, written or passed to a method.

        Raises:
            AttributeRefused: It is not plain data, and only plain data is allowed.
        """
        if self.is_free(name, declared):
            return
        path = next(_paths(value), None)
        if path is not None:
            what = f"has {value_mismatch.shown(path)}, which could be a path"
            if not isinstance(path, (str, bytes)):
                what = f"has an object of the type {type(path).__name__}, which is no plain data"
            raise AttributeRefused(f'remote attribute "{name}" {what}; {self._remedy(name)}')

    def check_write(self, name: str, old: Any, new: Any, declared: frozenset[str]) -> None:
        """Check that an attribute may be changed to a value.

        Args:
            name: The attribute's name.
            old: Its present value.
            new: The value to set.
            declared: The names that the environment declares.

        Raises:
            AttributeRefused: It may not.
        """
        if name in _FIXED or name.startswith("single_"):
            raise AttributeRefused(
                f'remote attribute "{name}" cannot be changed: clients are told of it once, when the environment is '
                "made; make one with other options"
            )
        if callable(old):
            raise AttributeRefused(f'remote attribute "{name}" is a method, and cannot be changed')
        if self.is_free(name, declared):
            return
        for value in (old, new):
            self.check_plain(name, value, declared)
        if _kind(old) != _kind(new):
            raise AttributeRefused(
                f'remote attribute "{name}" is {value_mismatch.shown(old)}: send another value of the same kind and '
                f"shape, not {value_mismatch.shown(new)}; {self._remedy(name)}"
            )
        if name in _REPEATS_OF_WRAPPERS and any(each > _MOST_REPEATS for each in _numbers(new)):
            raise AttributeRefused(
                f'remote attribute "{name}" multiplies the time of a step; send {_MOST_REPEATS} at most'
            )


def _kind(value: Any) -> Any:
    """Return what two values must have in common for one to replace the other."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape
    if isinstance(value, enum.Enum):
        return type(value)
    kinds: tuple[Any, ...] = (str, (bool, int, float, np.generic), Mapping, (list, tuple), Set)
    return next((index for index, each in enumerate(kinds) if isinstance(value, each)), None)


class WrapperPolicy:
    """The wrappers that clients may have the server put around their environments.

    Args:
        rule: ``gymnasium`` for :data:`GYMNASIUM_WRAPPERS`, ``none``, or a comma-separated list of names: the name of a
            wrapper in :data:`GYMNASIUM_WRAPPERS`, ``module:Class``, or ``gymnasium`` for all of them.
    """

    def __init__(self, rule: str = GYMNASIUM) -> None:
        self._before = "" if rule == NONE else f"{rule},"
        names = set() if rule == NONE else set(rule.split(","))
        if GYMNASIUM in names:
            names = names - {GYMNASIUM} | GYMNASIUM_WRAPPERS
        self._names = names

    def check(self, wrappers: Sequence[Wrapper], field: str = "wrappers") -> None:
        """Check wrappers and their arguments.

        Args:
            wrappers: The wrappers.
            field: The field of the make request that they are from: ``wrappers`` or ``vector_wrappers``.

        Raises:
            WrapperRefused: One is not allowed; the message says how the operator can allow it.
        """
        if not wrappers:
            return
        module, known = _WRAPPERS_MODULES[field], _KNOWN_WRAPPERS[field]
        (other,) = _WRAPPERS_MODULES.keys() - {field}
        others = _WRAPPERS_MODULES[other]
        allowed = {name.removeprefix(module) for name in self._names if ":" in name or name in known}
        allowed = {name for name in allowed if not name.startswith(others)}
        for index, wrapper in enumerate(wrappers):
            place = f'{field}[{index}] "{wrapper.name}"'
            name = wrapper.name.removeprefix(module)
            if name.startswith(others):
                raise WrapperRefused(f"{place} is not for `{field}`: send it in `{other}`")
            if name not in allowed:
                listed = name if ":" in name or name in known else f"{module}{name}"
                raise WrapperRefused(
                    f"{place} is not allowed on this server; put it around the environment in your own program, or ask "
                    f"the operator for --wrappers {self._before}{listed}; the server allows "
                    f"{', '.join(sorted(allowed)) or 'none'}"
                )
            self._check_kwargs(place, wrapper.kwargs)

    @staticmethod
    def _check_kwargs(place: str, kwargs: Mapping[str, Any]) -> None:
        for name, value in kwargs.items():
            if name in _REPEATS_OF_WRAPPERS and any(each > _MOST_REPEATS for each in _numbers(value)):
                raise WrapperRefused(
                    f'{place}: kwarg "{name}" multiplies the time of a step; send {_MOST_REPEATS} at most'
                )
            path = next(_paths(value), None)
            if path is not None:
                raise WrapperRefused(
                    f'{place}: kwarg "{name[:80]}" has {value_mismatch.shown(path)}, which could be a path; send '
                    f"numbers, or names of at most {_MOST_PLAIN} characters without a slash"
                )


def _numbers(value: Any) -> list[Any]:
    value = value.reshape(-1).tolist() if isinstance(value, np.ndarray) else value
    return [each for each in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(each, (int, float))]


def _paths(value: Any) -> Iterator[Any]:
    """Yield the parts of a value that could be the path of a file, or that are not data."""
    value = value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.kind not in "biufcmM":
            yield from _paths(value.tolist()) if value.dtype.kind in "USO" else [value]
    elif isinstance(value, str):
        if len(value) > _MOST_PLAIN or value.startswith((".", "~")) or any(each in value for each in "/\\\0"):
            yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _paths(key)
            yield from _paths(each)
    elif isinstance(value, (list, tuple, Set)):
        for each in value:
            yield from _paths(each)
    elif value is not None and not isinstance(value, (bool, int, float)):
        yield value  # bytes, above all

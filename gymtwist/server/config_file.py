"""The operator's TOML files: unknown keys are errors that name the nearest known key."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class CannotRead(ValueError):
    """A file cannot be used; the message names the key and the remedy."""


def read_tables(path: str) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        CannotRead: The file cannot be read.
    """
    try:
        return tomllib.loads(Path(path).read_bytes().decode())
    except OSError as error:
        raise CannotRead(error.strerror) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or nested too deeply
        raise CannotRead(f"it is not TOML: {error}") from error


def read(path: str, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Read a TOML file, and yield its keys and values, including tables.

    Args:
        path: The file.
        keys: The known keys.

    Raises:
        CannotRead: The file cannot be read, or has an unknown key.
    """
    for key, value in read_tables(path).items():
        check_key(key, keys)
        yield key, value


def check_key(key: str, keys: Collection[str]) -> None:
    """Check that a key is known.

    Raises:
        CannotRead: It is not; the message names the nearest known key.
    """
    if key in keys:
        return
    nearest = difflib.get_close_matches(key.replace("_", "-"), keys, n=1)
    remedy = f"did you mean `{nearest[0]}`?" if nearest else f"there are {', '.join(sorted(keys))}"
    raise CannotRead(f"there is no `{key}`; {remedy}")

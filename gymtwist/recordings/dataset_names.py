"""The names of datasets, and where datasets and the journals of sessions are stored.

Below the root, the directory of a dataset is named after it, as Minari requires: ``ROOT/NAME/data``. Each identity has
its own namespace, so that no identity can reach the datasets of another.
"""

from __future__ import annotations

import re
from pathlib import Path

from gymtwist.error_texts import MOST_SHOWN
from gymtwist.errors import InvalidField

#: The maximum length of a dataset's name, in characters.
MAX_NAME = 200
#: The directory of datasets below the root of recordings, and the directory of journals in it.
DATASETS, JOURNALS = "datasets", ".journals"
#: The directory of a dataset's files; Minari recognizes a dataset by it.
DATA = "data"
#: Minari's namespaces have at least two characters.
_PART = r"[A-Za-z0-9_][A-Za-z0-9_-]{1,63}"
_NAME = re.compile(rf"(?:{_PART}/){{0,3}}[A-Za-z0-9_][A-Za-z0-9_-]{{0,63}}-v[0-9]{{1,6}}")
_EXPECTED = (
    'expected a name with a version, such as "cartpole-v0" or "lab/cartpole-v0": letters, digits, "-" and "_", and at '
    f"most three namespaces of at least two characters before it; {MAX_NAME} characters in all"
)


def full_name(name: str, identity: str) -> str:
    """Return the full name of a dataset, relative to the root.

    Args:
        name: The name given by the client.
        identity: The name of the client's identity; empty if there is none.

    Raises:
        InvalidField: The name is not a valid dataset name.
    """
    if len(name) > MAX_NAME or not _NAME.fullmatch(name) or DATA in name.split("/"):
        raise InvalidField(f'record.dataset "{name[:MOST_SHOWN]}": {_EXPECTED}')
    found = f"{identity}/{name}" if identity else name
    if identity and not re.fullmatch(_PART, identity):
        raise InvalidField(
            f'record: the identity "{identity}" has a name that is no namespace of Minari; ask the operator for one '
            "with at least two characters"
        )
    return found


def is_name(name: str) -> bool:
    """Return whether a text is the full name of a dataset, with or without an identity's namespace."""
    parts = name.split("/")
    return (
        len(name) <= 2 * MAX_NAME
        and DATA not in parts
        and bool(_NAME.fullmatch(name) or (re.fullmatch(_PART, parts[0]) and _NAME.fullmatch("/".join(parts[1:]))))
    )


def owner_of(name: str) -> str:
    """Return the first namespace of a dataset: the identity that recorded it, if the server has identities."""
    return name.partition("/")[0] if "/" in name else ""


def directory_of(root: Path, name: str) -> Path:
    """Return the directory of a dataset.

    Args:
        root: The root of the datasets, as a resolved path.
        name: The full name of the dataset, as returned by :func:`full_name`.

    Raises:
        InvalidField: A link leads elsewhere, or another dataset or namespace is in the way.
    """
    path = root / name
    if path.resolve() != path:
        raise InvalidField(
            f'record.dataset "{name}": a link below the root of recordings leads elsewhere; name another'
        )
    for above in list(path.parents)[: name.count("/")]:
        if (above / DATA).exists():
            raise InvalidField(
                f'record.dataset "{name}": "{above.relative_to(root)}" is a dataset, and no namespace; name another'
            )
    if path.is_dir() and not (path / DATA).exists() and any(each.is_dir() for each in path.iterdir()):
        raise InvalidField(f'record.dataset "{name}": this is a namespace with datasets in it; name another')
    return path

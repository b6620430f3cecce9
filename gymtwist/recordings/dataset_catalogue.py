"""Lists the datasets below a root, and exports them; the server runs this, so it does not import NumPy."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gymtwist.recordings.dataset_names import DATA, JOURNALS, is_name, owner_of

#: The maximum number of datasets to list.
MOST_LISTED = 10_000
#: The chunk size of an archive, in bytes.
_PIECE = 64 * 1024
#: The maximum depth of a dataset below the root: an identity's namespace, three of the client's own, and the name.
_DEPTH = 5


class DatasetRow(msgspec.Struct, frozen=True):
    """A dataset of recorded episodes.

    Attributes:
        name: Its name; if the server has identities, the part before the first slash is the identity that recorded it.
        environment: The id of the environment; None if the dataset does not say how to make it.
        episodes: The number of episodes.
        steps: The number of steps.
        bytes: The total size of its files, in bytes.
        modified: When episodes were last added, in seconds since the Unix epoch.
        complete: Whether it has everything that was recorded: no session is recording it, and no journal for it is
            left.
    """

    name: str
    environment: str | None
    episodes: int
    steps: int
    bytes: int
    modified: float
    complete: bool


class _Metadata(msgspec.Struct):
    total_episodes: int = 0
    total_steps: int = 0
    env_spec: str = "{}"


class _Spec(msgspec.Struct):
    id: str | None = None


class _Header(msgspec.Struct):
    dataset: str


def list_datasets(root: Path) -> list[DatasetRow]:
    """Return the datasets below a root, sorted by name.

    Args:
        root: The root directory.
    """
    incomplete = incomplete_datasets(root)
    rows = []
    for name in _names(root, "", _DEPTH):
        row = find_dataset(root, name, incomplete)
        if row is not None:
            rows.append(row)
        if len(rows) == MOST_LISTED:
            break
    return rows


def find_dataset(root: Path, name: str, incomplete: set[str] | None = None) -> DatasetRow | None:
    """Return a dataset; None if there is none of this name.

    Args:
        root: The root directory.
        name: The name of the dataset.
        incomplete: The names of the incomplete datasets; None to look them up.
    """
    if not is_name(name):
        return None
    directory = root / name / DATA
    try:
        if directory.resolve() != root.resolve() / name / DATA:
            return None
        path = directory / "metadata.json"
        metadata = msgspec.json.decode(path.read_bytes(), type=_Metadata)
        spec = msgspec.json.decode(metadata.env_spec, type=_Spec)
        size = sum(each.stat().st_size for _, each in _files(directory))
        incomplete = incomplete_datasets(root) if incomplete is None else incomplete
        return DatasetRow(
            name,
            spec.id,
            metadata.total_episodes,
            metadata.total_steps,
            size,
            path.stat().st_mtime,
            name not in incomplete,
        )
    except (OSError, msgspec.MsgspecError):  # it is being created or removed
        return None


def _names(root: Path, namespace: str, depth: int) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(root / namespace), key=lambda each: each.name)
    except OSError:
        return
    for each in entries:
        if each.name.startswith(".") or not each.is_dir(follow_symlinks=False):
            continue
        name = f"{namespace}{each.name}"
        if os.path.isdir(root / name / DATA):
            yield name
        elif depth > 1:
            yield from _names(root, f"{name}/", depth - 1)


def incomplete_datasets(root: Path) -> set[str]:
    """Return the names of the datasets for which there are journals."""
    return {name for name, _ in _journals(root)}


def journals_of(root: Path, dataset: str) -> list[Path]:
    """Return the directories of the journals for a dataset."""
    return [directory for name, directory in _journals(root) if name == dataset]


def _journals(root: Path) -> Iterator[tuple[str, Path]]:
    try:
        journals = [each for each in os.listdir(root / JOURNALS) if not each.startswith(".")]
    except OSError:
        return
    for each in journals:
        try:
            content = (root / JOURNALS / each / "header").read_bytes()
            yield msgspec.msgpack.decode(content, type=_Header).dataset, root / JOURNALS / each
        except (OSError, msgspec.MsgspecError):
            continue  # it is being removed


def _files(directory: Path) -> list[tuple[str, Path]]:
    """Return the files of a dataset with their relative names, ordered so that a file precedes those it refers to.

    Read in this order, no file is older than one that refers to it.
    """
    found = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            if not name.startswith(".") and not path.is_symlink():
                found.append((str(path.relative_to(directory)), path))
    first = {"metadata.json": 0, "main_data.hdf5": 1}
    return sorted(found, key=lambda each: (first.get(each[0], 2), each[0]))


def archive(root: Path, name: str) -> Iterator[bytes]:
    """Yield the chunks of a tar archive of a dataset, which unpacks into Minari's directory of datasets.

    Args:
        root: The root directory.
        name: The name of a dataset that :func:`find_dataset` finds.

    Raises:
        OSError: A file cannot be read.
    """
    for file_name, path in _files(root / name / DATA):
        with path.open("rb") as file:
            info: Any = tarfile.TarInfo(f"{name}/{DATA}/{file_name}")
            status = os.fstat(file.fileno())
            info.size, info.mtime, info.mode = status.st_size, int(status.st_mtime), 0o644
            yield info.tobuf(tarfile.PAX_FORMAT)
            left = status.st_size
            while left:
                piece = file.read(min(left, _PIECE))
                if not piece:
                    raise OSError(f"{file_name} has become shorter")
                left -= len(piece)
                yield piece
            yield bytes(-status.st_size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def is_seen(name: str, sees: Any) -> bool:
    """Return whether a client may see a dataset.

    Args:
        name: The name of the dataset.
        sees: Returns whether the client may see what the identity with a given name does.
    """
    return bool(sees(owner_of(name)))

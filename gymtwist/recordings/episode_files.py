"""The files of a dataset, in Minari's documented HDF5 format.

Source: https://minari.farama.org/content/dataset_standards/ and ``minari.dataset._storages.hdf5_storage`` of Minari
0.5.4. Minari modifies a single file in place, which a crash can damage. Here, the episodes are in files
``part-*.hdf5``, and ``main_data.hdf5``, which Minari opens, has a link to each. Every file is written as a copy that
then replaces the old one, so readers find a complete dataset at any time.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import minari
import msgspec
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from minari.serialization import serialize_space

from gymtwist.recordings import hdf5_arrays, info_arrays
from gymtwist.recordings.episode_rows import ACTION, FRAME, OBSERVATION, REWARD, TERMINATED, TRUNCATED, leaves
from gymtwist.recordings.journal_files import write_whole
from gymtwist.recordings.journal_reader import Episode, JournalReader
from gymtwist.recordings.videos import write_video

_MAIN, _METADATA, _PART, _VIDEOS = "main_data.hdf5", "metadata.json", "part-{:06}.hdf5", "videos"
#: The size in bytes from which on no episodes are added to a file: adding copies it.
_PART_SIZE = 4 * 2**20
#: Sizes in bytes from which on an array is compressed, and from which on it is copied piece by piece.
_COMPRESSED, _LARGE = 8192, 2**22
#: The minimum size of a chunk of a compressed array, in bytes.
_CHUNK = 65536
#: Attributes of the main file: the number of steps, and the last stored row of a journal.
_STEPS, _STORED = "total_steps", "stored_{}"
_FPS = 30.0


class EpisodeFiles:
    """The files of one dataset.

    Args:
        directory: The directory of the files.
        reader: The reader of a journal that is recorded into it.
        token: The name of the journal.
    """

    def __init__(self, directory: Path, reader: JournalReader, token: str) -> None:
        self._directory = directory
        self._reader = reader
        self._header = reader.header
        self._stored = _STORED.format(token)

    def prepare(self) -> None:
        """Create an empty dataset if there is none."""
        self._directory.mkdir(parents=True, exist_ok=True)
        if not (self._directory / _MAIN).exists():
            with _replaced(self._directory / _MAIN):
                pass
        self._write_metadata()

    def add(self, episodes: Sequence[Episode]) -> None:
        """Add episodes, except those stored before a crash.

        Args:
            episodes: All episodes of the journal that have ended since the last call, in the order of their ends.
        """
        with h5py.File(self._directory / _MAIN, "r") as main:
            stored, first = int(main.attrs.get(self._stored, -1)), len(main)
        episodes = [episode for episode in episodes if episode.end > stored]
        if not episodes:
            return
        part = self._last_part()
        with _replaced(self._directory / part) as file:
            for number, episode in enumerate(episodes, first):
                name = f"episode_{number}"
                if name in file:  # from a pass that was killed
                    del file[name]
                self._write_episode(file.create_group(name), number, episode)
        with _replaced(self._directory / _MAIN) as main:
            for number in range(first, first + len(episodes)):
                main[f"episode_{number}"] = h5py.ExternalLink(part, f"/episode_{number}")
            main.attrs[_STEPS] = main.attrs.get(_STEPS, 0) + sum(len(episode.rows) - 1 for episode in episodes)
            main.attrs[self._stored] = episodes[-1].end
        self._write_metadata()

    def finish(self) -> None:
        """Forget the journal, which is about to be removed."""
        with h5py.File(self._directory / _MAIN, "r") as main:
            if self._stored not in main.attrs:
                return
        with _replaced(self._directory / _MAIN) as main:
            del main.attrs[self._stored]

    def _last_part(self) -> str:
        parts = sorted(self._directory.glob("part-*.hdf5"))
        if parts and parts[-1].stat().st_size < _PART_SIZE:
            return parts[-1].name
        return _PART.format(len(parts))

    def _write_metadata(self) -> None:
        header = self._header
        with h5py.File(self._directory / _MAIN, "r") as main:
            episodes, steps = len(main), int(main.attrs.get(_STEPS, 0))
        path = self._directory / _METADATA
        metadata: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else self._first_metadata()
        size = sum(each.stat().st_size for each in self._directory.rglob("*") if each.is_file())
        metadata |= {"total_episodes": episodes, "total_steps": steps, "dataset_size": round(size / 1e6, 1)}
        if header.author and header.author not in metadata.setdefault("author", []):
            metadata["author"].append(header.author)
        write_whole(path, json.dumps(metadata).encode())

    def _first_metadata(self) -> dict[str, Any]:
        reader = self._reader
        metadata = {
            "dataset_id": self._header.dataset,
            "data_format": "hdf5",
            "jpeg_encoding": False,
            "minari_version": minari.__version__,
            "observation_space": serialize_space(reader.observation_space),
            "action_space": serialize_space(reader.action_space),
        }
        return metadata if self._header.env_spec is None else metadata | {"env_spec": self._header.env_spec}

    # One episode

    def _write_episode(self, group: Any, number: int, episode: Episode) -> None:
        rows, steps, reader = episode.rows, episode.rows[1:], self._reader
        hdf5_arrays.write_integer(group, "id", number)
        hdf5_arrays.write_integer(group, "total_steps", len(steps))
        if episode.seed is not None:
            hdf5_arrays.write_integer(group, "seed", np.uint64(episode.seed))
        attributes = _flat(episode.options or {}, "options")
        if not episode.is_finished:
            attributes["unfinished"] = True
        self._write_space(group, "observations", reader.observation_space, OBSERVATION, rows, episode.environment)
        self._write_space(group, "actions", reader.action_space, ACTION, steps, episode.environment)
        fields = (("rewards", REWARD), ("terminations", TERMINATED), ("truncations", TRUNCATED))
        arrays = {name: np.concatenate(list(self._pieces(field, steps, episode.environment))) for name, field in fields}
        # Minari's own collector does this for an abandoned episode.
        arrays["truncations"][-1] |= not episode.is_finished
        for name, array in arrays.items():
            self._write_array(group, name, [array], array.dtype, array.shape)
        group.create_group("infos")  # Minari's own collector also creates it if there are no infos
        infos = reader.infos(rows)
        if infos:
            its = [info_arrays.of_environment(info, episode.environment, self._header.num_envs) for info in infos]
            attributes |= _left_out(info_arrays.write(group["infos"], its))
        if self._header.frame_shape is not None:
            attributes |= self._write_frames(group, number, rows, episode.environment)
        # Writing each attribute individually would open them all again.
        for name, value in attributes.items():
            group.attrs[name] = value

    def _write_space(
        self, group: Any, name: str, space: Any, path: str, rows: npt.NDArray[np.int64], environment: int
    ) -> None:
        if isinstance(space, (spaces.Dict, spaces.Tuple)):
            group.create_group(name)  # even if the space is empty
        for field, dtype, shape in leaves(space, path):
            pieces = self._pieces(field, rows, environment)
            self._write_array(group, name + field[len(path) :], pieces, dtype, (len(rows), *shape))

    def _pieces(self, field: str, rows: npt.NDArray[np.int64], environment: int) -> Iterator[npt.NDArray[Any]]:
        """Yield the values of a field in some rows, as one array per segment."""
        for records, indices in self._reader.slices(rows):
            column = records[field]
            column = column if self._header.num_envs is None else column[:, environment]
            first, last = int(indices[0]), int(indices[-1])
            # A view, if the rows are contiguous.
            yield column[first : last + 1] if last - first == len(indices) - 1 else column[indices]

    def _write_array(self, group: Any, name: str, pieces: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        if dtype.kind == "U":
            array = np.concatenate(list(pieces)).astype(object)
            group.create_dataset(name, data=array, dtype=h5py.string_dtype("utf-8"))
            return
        size = dtype.itemsize * math.prod(shape)
        level, chunks = self._header.compression, None
        if level and size >= _COMPRESSED:
            item = max(1, size // max(1, shape[0]))
            chunks = max(1, min(shape[0], _CHUNK // item)), *shape[1:]
        if size < _LARGE:
            hdf5_arrays.write_array(group, name, np.concatenate(list(pieces)), chunks, level)
            return
        options: dict[str, Any] = {}
        if chunks is not None:
            compression = {"compression": "gzip", "compression_opts": level, "shuffle": dtype.itemsize > 1}
            options = {"chunks": chunks, **compression}
        dataset = group.create_dataset(name, shape, dtype, **options)
        at = 0
        for piece in pieces:
            dataset[at : at + len(piece)] = piece
            at += len(piece)

    def _write_frames(self, group: Any, number: int, rows: npt.NDArray[np.int64], environment: int) -> dict[str, Any]:
        shape = self._header.frame_shape
        assert shape is not None
        pieces = self._pieces(FRAME, rows, environment)
        if self._header.frames == "lossless":
            self._write_array(group["infos"], "frames", pieces, np.dtype(np.uint8), (len(rows), *shape))
            return {}
        name = f"{_VIDEOS}/episode_{number}.mp4"
        (self._directory / _VIDEOS).mkdir(exist_ok=True)
        write_video(self._directory / name, (frame for piece in pieces for frame in piece), self._header.fps or _FPS)
        return {"video": name}


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[Any]:
    """Open a copy of an HDF5 file, or a new one; at the end of the context, it replaces the original.

    Args:
        path: The file.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        if path.exists():
            shutil.copyfile(path, part)
        # This format version keeps the links to many episodes small; HDF5 can read it since 1.10.
        with h5py.File(part, "r+" if path.exists() else "w", libver="latest") as file:
            yield file
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _flat(options: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the options of a reset as attributes; Minari reads their names as paths."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{path}/{key}")
        elif isinstance(value, (bool, int, float, str)) or (isinstance(value, np.ndarray) and value.nbytes < 2**15):
            flat[f"{path}/{key}"] = value
        else:  # such as None or a list, for which attributes have no type
            flat[f"{path}/{key}"] = msgspec.json.encode(value, enc_hook=str).decode()[:2000]
    return flat


def _left_out(places: list[str]) -> dict[str, Any]:
    return {"left_out": ", ".join(places)[:2000]} if places else {}

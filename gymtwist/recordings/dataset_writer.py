"""The process that makes datasets of journals: ``python -m gymtwist.recordings.dataset_writer ROOT``.

The server starts it when there is something to record. It works while sessions record, behind them and with a low
priority, and ends when there are no journals, or when its standard input ends and no session records any more.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import msgspec

from gymtwist.recordings import journal_files
from gymtwist.recordings.dataset_names import DATA, JOURNALS, is_name
from gymtwist.recordings.episode_files import EpisodeFiles
from gymtwist.recordings.journal_files import HEADER, LOCK, UNFINISHED, Header
from gymtwist.recordings.journal_reader import JournalReader

#: Seconds between two looks for episodes that have ended, at least and at most.
_INTERVAL, _MOST_INTERVAL = 0.1, 2.0
#: The part of a processor that it uses, unless the longest interval is too short for that.
_SHARE = 0.05
#: How many times it tries to get the lowest priority for its session.
_TRIES = 10
#: Seconds without a journal after which the process ends.
_IDLE = 10.0
#: Seconds that it waits for sessions to end once its standard input has.
_END_TIMEOUT = 10.0
#: Seconds after which a journal that was never begun is removed.
_STALE = 60.0
#: How many processes may begin to read a journal; each server after the first is one.
_MOST_ATTEMPTS = 5
#: The name of a journal that cannot be read, so that nobody tries again.
_DAMAGED = ".damaged-"


class Journal:
    """One journal, and the dataset that it is for.

    Args:
        directory: The directory of the journal.
        datasets: The root of the datasets.

    Raises:
        ValueError: Its header is not one.
        OSError: It cannot be read.
    """

    def __init__(self, directory: Path, datasets: Path) -> None:
        self._directory = directory
        header = msgspec.msgpack.decode((directory / HEADER).read_bytes(), type=Header)
        if not is_name(header.dataset) or header.byte_order != sys.byteorder:
            raise ValueError("the header is not one of this machine")
        self._reader = JournalReader(directory, header)
        self._dataset = datasets / header.dataset / DATA
        self._check_dataset()
        self._files = EpisodeFiles(self._dataset, self._reader, directory.name)
        self._files.prepare()

    def _check_dataset(self) -> None:
        """Check that the dataset is where its name says: a session may write there, and only there."""
        if self._dataset.resolve() != self._dataset:
            raise ValueError("a link below the root leads elsewhere")

    def advance(self) -> bool:
        """Store the episodes that have ended; return whether the session has, and all is stored."""
        # Asked first: what is read next is all that there is.
        lock = journal_files.lock(self._directory / LOCK)
        try:
            self._check_dataset()
            self._files.add(self._reader.poll(is_over=lock is not None))
            if lock is None:
                self._reader.release()
                return False
            self._files.finish()
            shutil.rmtree(self._directory)
            return True
        finally:
            if lock is not None:
                os.close(lock)


class DatasetWriter:
    """Makes datasets of all journals below a root.

    Args:
        root: The root of the datasets.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._journals: dict[str, Journal] = {}

    def advance(self) -> bool:
        """Do what there is to do; return whether journals are left."""
        for directory in sorted((self._root / JOURNALS).iterdir()):
            if directory.name.startswith(UNFINISHED):
                _remove_stale(directory)
            elif directory.is_dir() and not directory.name.startswith("."):
                self._advance(directory)
        return bool(self._journals)

    def _advance(self, directory: Path) -> None:
        try:
            journal = self._journals.get(directory.name)
            if journal is None:
                self._count_attempt(directory)
                journal = self._journals[directory.name] = Journal(directory, self._root)
            if journal.advance():
                del self._journals[directory.name]
                self._attempts(directory).unlink(missing_ok=True)
        except OSError as error:  # such as a full disk: the next time it may not be
            self._journals.pop(directory.name, None)
            print(f"cannot store what is recorded: {error}", flush=True)
            time.sleep(1.0)
        except Exception:
            self._journals.pop(directory.name, None)
            print(f"a journal cannot be read, and is kept as {_DAMAGED}{directory.name}", flush=True)
            traceback.print_exc()
            os.rename(directory, directory.with_name(_DAMAGED + directory.name))
            self._attempts(directory).unlink(missing_ok=True)

    def _count_attempt(self, directory: Path) -> None:
        """Count the processes that have begun to read a journal.

        Raises:
            ValueError: Too many have, and have ended over it: whoever makes a file shorter that is mapped kills its
                reader.
        """
        path = self._attempts(directory)
        count = int(path.read_text()) if path.exists() else 0
        if count == _MOST_ATTEMPTS:
            raise ValueError(f"{count} processes have ended over this journal")
        path.write_text(str(count + 1))

    def _attempts(self, directory: Path) -> Path:
        return directory.with_name(f".attempts-{directory.name}")


def _remove_stale(directory: Path) -> None:
    """Remove a journal that was never begun, of a session that has ended."""
    if time.time() - directory.stat().st_mtime > _STALE:
        lock = journal_files.lock(directory / LOCK)
        if lock is not None:
            os.close(lock)
            shutil.rmtree(directory, ignore_errors=True)


def _has_ended(seconds: float) -> bool:
    """Wait; return whether the standard input has ended."""
    return bool(select.select([0], [], [], seconds)[0]) and not os.read(0, 4096)


def _take_lowest_priority() -> None:
    """Let every other process go first.

    Linux may share processors among sessions of processes first (``sched_autogroup_enabled``). Niceness counts within
    one only, and a worker has one of its own, so this process needs one as well; see sched(7).
    """
    os.nice(19)
    with contextlib.suppress(OSError):
        os.setsid()
        for _ in range(_TRIES):
            # Except for root, the kernel allows this once in a tenth of a second, for all processes together.
            with contextlib.suppress(BlockingIOError):
                Path("/proc/self/autogroup").write_text("19")
                return
            time.sleep(_INTERVAL)


def _interval(used: float) -> float:
    """Return how many seconds to wait for the next look.

    Client and worker poll for each other's messages, for which they need a processor each. On a machine with two, they
    lose that as long as a third process has something to do. So it does much at once, and seldom.

    Args:
        used: The seconds of processor time of the last one.
    """
    return min(max(_INTERVAL, used / _SHARE), _MOST_INTERVAL)


def run(root: Path) -> None:
    """Make datasets until there is nothing to do.

    Args:
        root: The root of the datasets.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an operator's Ctrl-C is the server's business
    _take_lowest_priority()
    # That of a server before this one may be busy, also with the sessions of this one.
    while journal_files.lock(root / JOURNALS / ".writer") is None:
        if _has_ended(_INTERVAL):
            return
    writer = DatasetWriter(root)
    deadline = None
    idle_since = time.monotonic()
    while True:
        begun = time.process_time()
        has_work = writer.advance()
        interval = _interval(time.process_time() - begun)
        now = time.monotonic()
        idle_since = now if has_work else idle_since
        if deadline is None:
            if _has_ended(interval):
                deadline = time.monotonic() + _END_TIMEOUT
                continue
            if now - idle_since > _IDLE:
                return
        elif not has_work or now > deadline:
            return
        else:
            time.sleep(_INTERVAL)


if __name__ == "__main__":
    run(Path(sys.argv[1]).resolve())

"""The process that converts journals into datasets: ``python -m gymtwist.recordings.dataset_writer ROOT``.

The server starts it when there is something to record. It works while sessions record, with a low priority. It ends
when there are no journals left, or when its standard input has ended and no session records any more.
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

#: The shortest and the longest time between checks for ended episodes, in seconds.
_INTERVAL, _MOST_INTERVAL = 0.1, 2.0
#: The share of a processor that it uses, unless the longest interval is too short for that.
_SHARE = 0.05
#: How often it tries to get the lowest priority for its process session.
_TRIES = 10
#: Seconds without a journal after which the process ends.
_IDLE = 10.0
#: Seconds that it waits for sessions to end after its standard input has ended.
_END_TIMEOUT = 10.0
#: Seconds after which an unfinished journal is removed.
_STALE = 60.0
#: How many processes may try to read a journal; each restart of the server counts as one.
_MOST_ATTEMPTS = 5
#: The prefix for the name of a journal that cannot be read, so that it is not tried again.
_DAMAGED = ".damaged-"


class Journal:
    """One journal, and the dataset that it is for.

    Args:
        directory: The directory of the journal.
        datasets: The root of the datasets.

    Raises:
        ValueError: Its header is invalid.
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
        """Check that the dataset is where its name says: a session may write there and nowhere else."""
        if self._dataset.resolve() != self._dataset:
            raise ValueError("a link below the root leads elsewhere")

    def advance(self) -> bool:
        """Store the episodes that have ended; return whether the session has ended and everything is stored."""
        # Checked first: if the session has ended, the next read gets everything.
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
    """Converts all journals below a root into datasets.

    Args:
        root: The root of the datasets.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._journals: dict[str, Journal] = {}

    def advance(self) -> bool:
        """Do the work that is due; return whether journals are left."""
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
        except OSError as error:  # such as a full disk, which may have space next time
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
            ValueError: Too many processes have died while reading it: truncating a file that is mapped kills its
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
    """Remove an unfinished journal, if its session has ended."""
    if time.time() - directory.stat().st_mtime > _STALE:
        lock = journal_files.lock(directory / LOCK)
        if lock is not None:
            os.close(lock)
            shutil.rmtree(directory, ignore_errors=True)


def _has_ended(seconds: float) -> bool:
    """Wait this many seconds at most; return whether the standard input has ended."""
    return bool(select.select([0], [], [], seconds)[0]) and not os.read(0, 4096)


def _take_lowest_priority() -> None:
    """Give every other process precedence.

    Linux may share processors among process sessions first (``sched_autogroup_enabled``). Niceness then counts only
    within one session. A worker has its own, so this process needs one as well; see sched(7).
    """
    os.nice(19)
    with contextlib.suppress(OSError):
        os.setsid()
        for _ in range(_TRIES):
            # The kernel allows non-root users this only once every tenth of a second, for all processes together.
            with contextlib.suppress(BlockingIOError):
                Path("/proc/self/autogroup").write_text("19")
                return
            time.sleep(_INTERVAL)


def _interval(used: float) -> float:
    """Return the number of seconds until the next check.

    Client and worker poll for each other's messages, and each needs a processor for that. On a machine with two
    processors, a third busy process takes one away. So this process works rarely, and does much at a time.

    Args:
        used: The processor time of the last check, in seconds.
    """
    return min(max(_INTERVAL, used / _SHARE), _MOST_INTERVAL)


def run(root: Path) -> None:
    """Convert journals until there is nothing left to do.

    Args:
        root: The root of the datasets.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an operator's Ctrl-C is the server's business
    _take_lowest_priority()
    # An earlier server's writer may still be busy, perhaps with sessions of this server.
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

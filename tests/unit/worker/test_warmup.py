"""What the fork server does before there are workers: they have less to copy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.patience import PATIENCE

PROGRAM = """
import gc, sys, types
from gymtwist.worker import warmup
from gymtwist.worker.preload import preload
from gymtwist.worker.worker_settings import WorkerSettings

def pages(codes):
    places = [(id(code), id(code) + sys.getsizeof(code) - 1) for code in codes]
    return len({page for first, last in places for page in range(first >> 12, (last >> 12) + 1)})

def watched(ran):
    gather(ran)
    now = {each.__code__: each.__code__ for each in gc.get_objects() if type(each) is types.FunctionType}
    # Code is equal if it does the same at the same place.
    gathered.extend(now[code] for code in warmup._replaced)

gather, warmup._gather, gathered = warmup._gather, watched, []
preload(WorkerSettings(monitor_root="/"), warm_up=True)
assert not {id(code) for code in gathered} & {id(code) for code in warmup._replaced}
names = {code.co_name for code in gathered}
assert {"step", "reset", "_loop", "receive", "sample"} <= names, names
print(pages(warmup._replaced), pages(gathered))
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there it is left where it is")
def test_the_code_of_sessions_is_contiguous() -> None:
    """In far fewer pages than it lay in before."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stderr
    before, after = map(int, ended.stdout.split())
    assert after < 0.6 * before, ended.stdout


def test_a_profiler_that_is_there_stays() -> None:
    """It may be one of C, which cannot be set again from here."""
    program = """
import cProfile, sys
from gymtwist.worker.preload import preload
from gymtwist.worker.worker_settings import WorkerSettings
profile = cProfile.Profile()
profile.enable()
preload(WorkerSettings(monitor_root="/"), warm_up=True)
assert sys.getprofile() is profile or sys.version_info >= (3, 12)
profile.disable()
assert any("cartpole" in entry.code.co_filename for entry in profile.getstats() if not isinstance(entry.code, str))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stderr

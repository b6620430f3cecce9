"""The end of a process is noticed by itself, not by that of its sockets."""

from __future__ import annotations

import subprocess
import sys

from gymtwist.server.process_end import ProcessEnd
from tests.support.harness import SteppedReactor


def test_the_end_of_a_process_whose_output_another_one_holds() -> None:
    """As a daemon does that it has left behind."""
    daemon = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    print(os.getpid(), flush=True)\ntime.sleep(1000)"
    )
    reactor, ended = SteppedReactor(), list[str]()
    with subprocess.Popen([sys.executable, "-c", daemon], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = int(process.stdout.readline())
        end = ProcessEnd(reactor, process.pid, lambda: ended.append("ended"))
        try:
            reactor.turn()
            assert not ended
            process.kill()
            while not ended:
                reactor.iterate(0.1)
            reactor.turn()
            assert ended == ["ended"]
            assert end.close("how") == "how"
        finally:
            subprocess.run(["kill", "-9", str(left)], check=True)
    assert end not in reactor.getReaders()
    reactor.close()

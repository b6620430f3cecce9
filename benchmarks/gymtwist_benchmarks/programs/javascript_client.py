"""The JavaScript client, run by Node.js; environment variables choose the protocol, and the form of values in JSON."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from gymtwist_benchmarks.workloads import Workload


def connect(address: str, workload: Workload) -> NoReturn:
    """Let Node.js take the place of this process, with the seconds of the command line."""
    program = str(Path(__file__).with_suffix(".mjs"))
    played = [workload.environment, str(workload.actions), str(int(workload.balance))]
    words = ["node", program, address, *played, sys.argv[4], sys.argv[6]]
    try:
        os.execvp("node", words)
    except FileNotFoundError:
        sys.exit("there is no node, the command of Node.js")

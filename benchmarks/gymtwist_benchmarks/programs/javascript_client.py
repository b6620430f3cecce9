"""The JavaScript client, run by Node.js; environment variables choose the protocol, and the form of values in JSON."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gymtwist_benchmarks.programs.driver import WARM
from gymtwist_benchmarks.workloads import WORKLOADS

if __name__ == "__main__":
    address, name, seconds, _, *warm = sys.argv[1:]
    workload = WORKLOADS[name]
    program = str(Path(__file__).with_suffix(".mjs"))
    played = [workload.environment, str(workload.actions), str(int(workload.balance))]
    words = ["node", program, address, *played, seconds, *(warm or [str(WARM)])]
    try:
        os.execvp("node", words)
    except FileNotFoundError:
        sys.exit("there is no node, the command of Node.js")

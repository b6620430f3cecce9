"""Run one of the benchmarks: ``python benchmarks COMMAND``; without a command the commands are listed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

#: The commands, with the module that each runs and a line of help.
COMMANDS = {
    "figures": ("figures", "what the server costs: start, memory, processor time, rates"),
    "compare": ("comparison", "gymtwist beside its alternatives, or beside another version of itself"),
    "loads": ("load_tests", "gymtwist under load: many sessions, a fixed rate, a slow network"),
}

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[1] / "conformance"))
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit("\n".join(["commands:", *(f"  {name:14}{text}" for name, (_, text) in COMMANDS.items())]))
    command = sys.argv.pop(1)
    sys.argv[0] = f"benchmarks {command}"
    importlib.import_module(f"gymtwist_benchmarks.{COMMANDS[command][0]}").main()

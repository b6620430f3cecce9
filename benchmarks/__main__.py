"""Run one of the benchmarks: ``python benchmarks COMMAND``; without a command the commands are listed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

#: The commands, with the module and function that each runs and a line of help.
COMMANDS = {
    "figures": ("measurements", "figures", "what the server costs: start, memory, processor time, rates"),
    "compare": ("comparison", "main", "gymtwist beside its alternatives, or beside another version of itself"),
    "loads": ("measurements", "loads", "gymtwist under load: many sessions, a fixed rate, a slow network"),
}

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[1] / "conformance"))
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit("\n".join(["commands:", *(f"  {name:14}{text}" for name, (_, _, text) in COMMANDS.items())]))
    command = sys.argv.pop(1)
    sys.argv[0] = f"benchmarks {command}"
    module, function, _ = COMMANDS[command]
    getattr(importlib.import_module(f"gymtwist_benchmarks.{module}"), function)()

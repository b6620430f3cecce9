"""How long a test waits for something that must come.

A wait ends as soon as its condition holds. The bound only turns a hang into a failure, so it is far longer than any
wait takes on a busy machine. Tests of time limits have times of their own.
"""

from __future__ import annotations

#: Seconds.
PATIENCE = 120.0
#: A value of --drain beyond patience: a server that has forgotten to close a connection does not end in time.
LONG_DRAIN = f"{5 * PATIENCE:g}"

"""Run the unchanged server of gym-socket-api or gym-http-api: ``gym_peer_server CHECKOUT WORDS...``.

The words are the arguments of the interpreter, in the directory of the checkout, as each README has it:

- gym-socket-api, last commit 151ca91 of September 2017: ``. --port PORT``. It starts a fresh interpreter for each
  connection and hands it the socket; the first process only waits for it, in a thread.
- gym-http-api, last commit 15b68c3 of November 2018: ``gym_http_server.py --port PORT``. It is one process with a
thread
  for each connection (Flask's own server), which holds every environment; processes would not know each other's. It
  runs with today's Flask, because the release that it asks for does not run on today's Python. Flask's own server
  closes a connection after one request; ``-m waitress ... gym_http_server:app`` serves the same and keeps them.

Both import OpenAI's ``gym`` of their time. :mod:`gym_shim` stands in for it, over today's Gymnasium. It is linked into
the virtual environment rather than found by ``PYTHONPATH``, because the servers start interpreters of their own.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

_SHIM = Path(__file__).resolve().with_name("gym_shim.py")


def link_shim() -> None:
    """Make the shim importable as ``gym`` in this interpreter's virtual environment.

    Raises:
        SystemExit: This is not a virtual environment, or it has another ``gym``.
    """
    if sys.prefix == sys.base_prefix:
        raise SystemExit("run it in a virtual environment: it puts a module called gym there")
    place = Path(sysconfig.get_path("purelib"), "gym.py")
    if place.is_symlink() and place.resolve() == _SHIM:
        return
    if place.exists() or place.with_suffix("").exists():
        raise SystemExit(f"{place.parent} has another gym")
    place.unlink(missing_ok=True)  # a link to a former place of this repository
    place.symlink_to(_SHIM)


if __name__ == "__main__":
    link_shim()
    os.chdir(sys.argv[1])
    # Unbuffered, so that the line that says that it listens comes at once.
    os.execv(sys.executable, [sys.executable, "-u", *sys.argv[2:]])

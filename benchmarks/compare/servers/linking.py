"""Makes the shim importable as ``gym`` in a peer's virtual environment, and becomes the peer's own server.

The shim lies here by another name, so that nothing else takes it for ``gym``. It is linked into the virtual
environment, and not named by ``PYTHONPATH``, because the peers start interpreters of their own.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

_SHIM = Path(__file__).resolve().with_name("gym_shim")


def link() -> None:
    """Link the shim into this interpreter's virtual environment.

    Raises:
        SystemExit: This is no virtual environment, or there is a ``gym`` already.
    """
    if sys.prefix == sys.base_prefix:
        raise SystemExit("run it in a virtual environment: it puts a module called gym there")
    place = Path(sysconfig.get_path("purelib"), "gym")
    if place.is_symlink() and place.resolve() == _SHIM:
        return
    if place.exists():
        raise SystemExit(f"{place} is there, and is not ours")
    place.unlink(missing_ok=True)  # a link to where this repository was before
    place.symlink_to(_SHIM, target_is_directory=True)


def become(directory: str, *words: str) -> NoReturn:
    """Run the interpreter with these words in place of this program, in the peer's checkout."""
    link()
    os.chdir(directory)
    # Unbuffered, so that the line that says that it listens comes at once.
    os.execv(sys.executable, [sys.executable, "-u", *words])

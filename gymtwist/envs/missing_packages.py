"""What to install on the server after an error about a missing package, which its client does not need."""

from __future__ import annotations

import re

#: The extras that bring packages, by the packages' names in lower case, as imports and errors have them.
EXTRAS = {
    "ale_py": "atari",
    "box2d": "box2d",
    "cv2": "wrappers",
    "jax": "jax",
    "moviepy": "video",
    "mujoco": "mujoco",
    "opencv-python": "wrappers",
    "pettingzoo": "multi-agent",
    "pygame": "display",
}
_NAMED = re.compile(r"No module named '(\w+)|([\w-]+) (?:package |is )not installed")


def remedy(kind: type[BaseException], message: str) -> str:
    """Return what to do about an error, to be added to its text; empty if it is not about a missing package.

    Args:
        kind: The class of the exception; Gymnasium and Gym have a ``DependencyNotInstalled`` each.
        message: The exception's message.
    """
    if not issubclass(kind, ImportError) and kind.__name__ != "DependencyNotInstalled":
        return ""
    named = _NAMED.search(message)
    extra = EXTRAS.get((named[1] or named[2]).lower()) if named else None
    return f'; on the server: pip install "gymtwist[{extra}]"' if extra else "; install what is missing on the server"

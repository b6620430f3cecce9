"""What to install on the server after an error about a missing package, which the client does not need."""

from __future__ import annotations

import re
import sys

#: The extras that bring packages, by the package's name in lower case, as in imports and errors.
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


#: The advice of Gymnasium and Gym, which names their own extras.
_THEIR_ADVICE = re.compile(r", (?:you can install it by )?run `pip install.*", re.DOTALL)


def with_remedy(kind: type[BaseException], message: str) -> str:
    """Return an error's text; if a package is missing, add what to install on the server.

    Args:
        kind: The class of the exception; Gymnasium and Gym each have a ``DependencyNotInstalled``.
        message: The exception's message.
    """
    if not issubclass(kind, ImportError) and kind.__name__ != "DependencyNotInstalled":
        return message
    named = _NAMED.search(message)
    extra = EXTRAS.get((named[1] or named[2]).lower()) if named else None
    # Box2D has no wheel for Python 3.14, so the extra does not install it there.
    if extra is None or (extra == "box2d" and sys.version_info >= (3, 14)):
        return f"{message}; install what is missing on the server"
    return f'{_THEIR_ADVICE.sub("", message)}; on the server: pip install "gymtwist[{extra}]"'

"""What to install on the server after an error about a missing package, which its client does not need."""

from __future__ import annotations

import re
import sys

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


#: What Gymnasium and Gym advise, by extras of their own.
_THEIR_ADVICE = re.compile(r", (?:you can install it by )?run `pip install.*", re.DOTALL)


def with_remedy(kind: type[BaseException], message: str) -> str:
    """Return the text of an error; if it is about a missing package, with what to install on the server.

    Args:
        kind: The class of the exception; Gymnasium and Gym have a ``DependencyNotInstalled`` each.
        message: The exception's message.
    """
    if not issubclass(kind, ImportError) and kind.__name__ != "DependencyNotInstalled":
        return message
    named = _NAMED.search(message)
    extra = EXTRAS.get((named[1] or named[2]).lower()) if named else None
    # Box2D has no wheel for Python 3.14, so the extra brings nothing there.
    if extra is None or (extra == "box2d" and sys.version_info >= (3, 14)):
        return f"{message}; install what is missing on the server"
    return f'{_THEIR_ADVICE.sub("", message)}; on the server: pip install "gymtwist[{extra}]"'

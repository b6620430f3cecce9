"""The warning that a session's client does not receive everything that its environment returns."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence


class OmissionWarning:
    """Warns once in a session: an environment that returns unsendable values usually does so in every step."""

    def __init__(self) -> None:
        self._is_due = True

    def __call__(self, places: Sequence[str]) -> None:
        """Print the warning, unless it was already printed.

        Args:
            places: The places of the omitted values, such as ``info.stats.model``.
        """
        if self._is_due:
            self._is_due = False
            with contextlib.suppress(Exception):  # the environment may have closed or replaced the stream
                print(
                    f"the client does not get {', '.join(places)}: a message carries numbers, text, arrays, and lists "
                    "and mappings of these; convert it in the environment. Further omissions are not logged in this "
                    "session.",
                    file=sys.stderr,
                )

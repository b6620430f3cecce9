"""The errors of ``gym`` that the servers catch: Gymnasium's are the same."""

from __future__ import annotations

from gymnasium.error import Error


class AuthenticationError(Error):
    """An upload was refused."""


__all__ = ["AuthenticationError", "Error"]

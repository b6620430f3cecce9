"""The tests that fail with remote environments, by reason."""

from __future__ import annotations

#: Patterns of the tests' ids, by why they fail.
EXPECTED: dict[str, tuple[str, ...]] = {}

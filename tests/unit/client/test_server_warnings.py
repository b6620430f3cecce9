"""What the server says about a request besides its reply."""

from __future__ import annotations

import pytest

from gymtwist.client import connect
from gymtwist_conformance.reference_client import INT32, message
from tests.support.scripted_server import Script, made

pytest_plugins = ("tests.support.client_fixtures",)


def test_a_warning_of_the_server(scripted: Script) -> None:
    """Is one of Python's, and nothing that acts on a terminal."""
    reset = message(INT32, "reset", observation=bytes(8), warnings=["reset: unknown field `sed`\x1b[2J"])
    server = scripted(made(warnings=["make: unknown field `colour`"]), reset)
    with pytest.warns(UserWarning, match="make: unknown field `colour`"):
        environment = connect(server.port, "Scripted-v0", shared_memory=False)
    with pytest.warns(UserWarning, match=r"reset: unknown field `sed`\\x1b\[2J"):
        environment.reset()
    environment.close()

"""What the server says about a request besides its reply."""

from __future__ import annotations

import pytest

from gymtwist.client import connect
from gymtwist.client.client_errors import escaped
from gymtwist.server.server_log import printable
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


@pytest.mark.parametrize("code", [*range(9), *range(10, 32), *range(127, 160), 0x61C, 0x200E, 0x2028, 0x202E, 0x2066])
def test_both_sides_escape_the_same_characters(code: int) -> None:
    """What acts on a server's log acts on a client's terminal, too."""
    assert printable(chr(code)) != chr(code)
    assert escaped(chr(code)) != chr(code)

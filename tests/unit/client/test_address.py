"""Addresses: every form that people write, and what to say to the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gymtwist.client import Address
from gymtwist.client.address import connected, parse


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("localhost:5001", Address("localhost", 5001)),
        ("10.0.0.1:80", Address("10.0.0.1", 80)),
        ("[::1]:5001", Address("::1", 5001)),
        ("unix:gymsock.sock", Address("", 0, "gymsock.sock")),
        ("unix:/run/a:b.sock", Address("", 0, "/run/a:b.sock")),
        ("tls:example.org:5002", Address("example.org", 5002, tls=True)),
        ("tls:[::1]:5002", Address("::1", 5002, tls=True)),
        (("::1", 5001), Address("::1", 5001)),
        (5001, Address("localhost", 5001)),
        (Address("here", 1), Address("here", 1)),
    ],
)
def test_an_address_is_understood(given: Any, meant: Address) -> None:
    """In each of its forms."""
    assert parse(given) == meant


@pytest.mark.parametrize("text", ["localhost:5001", "[::1]:5001", "unix:gymsock.sock", "tls:example.org:5002"])
def test_an_address_is_shown_as_it_is_written(text: str) -> None:
    """So that messages name what the user wrote."""
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "given",
    [
        *("", "localhost", "localhost:", ":5001", "localhost:http", "localhost:0", "localhost:70000", "::1:5001"),
        *("unix:", "tls:", "localhost:-1", "localhost:\u0665", 0, -1, 70000, True, None, 5.0, ("localhost",)),
        *(("localhost", "5001"), (1, 2), b"localhost:5001"),
    ],
)
def test_an_invalid_address_is_refused(given: Any) -> None:
    """With what was given, and what is expected."""
    with pytest.raises(ValueError, match="no address: ") as caught:
        parse(given)
    assert repr(given) in str(caught.value)
    assert "expected" in str(caught.value) or "port is an integer" in str(caught.value)


@pytest.mark.parametrize("problem", ["No such file", "no certificate", "expected True"])
def test_certificates_that_cannot_be_read_are_the_callers_error(tmp_path: Path, problem: str) -> None:
    """No connection is lost: nothing is connected, and the argument and the file are named."""
    (tmp_path / "empty.pem").touch()
    tls: Any = {"No such file": str(tmp_path / "none.pem"), "no certificate": tmp_path / "empty.pem"}.get(problem, 5)
    with pytest.raises(ValueError, match=problem) as caught:
        connected(Address("127.0.0.1", 1), 1.0, tls)
    assert str(caught.value).startswith(f"tls is {str(tls) if isinstance(tls, Path) else tls!r}"[:12])
    assert "expected True, the path of a file of certificates" in str(caught.value)

"""Tokens of HTTP requests."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from gymtwist.errors import TokenRefused
from gymtwist.web.authentication import token_of
from tests.support.connection_fixtures import Make, connect, read
from tests.support.identity_files import write_identities
from tests.unit.web.test_site import answer, parsed, received, request


def basic(text: str) -> str:
    """Return the header that a browser sends."""
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def test_the_token_of_a_header() -> None:
    """A program's, and a browser's with any user name."""
    assert token_of(None) is None
    for header in ("Bearer alice.x", "bearer  alice.x ", basic("alice:alice.x"), basic(":alice.x")):
        assert token_of(header) == "alice.x"
    for header in ("alice.x", "Digest alice.x", "Basic é", "Basic !!!", "Basic /w=="):
        with pytest.raises(TokenRefused, match="Authorization"):
            token_of(header)


def test_requests_need_an_identity(make: Make, tmp_path: Path) -> None:
    """A browser is asked for a password; a probe of a load balancer is not."""
    path, tokens = write_identities(tmp_path, alice="")
    harness = make("--identities", path)
    assert answer(harness, request("GET /healthz HTTP/1.1"))[0] == 200
    status, headers, body = answer(harness, request("GET /none HTTP/1.1"))
    assert (status, body["code"], body["field"]) == (401, "token-refused", "Authorization")
    assert headers["www-authenticate"].startswith("Basic realm=")
    for header in (f"Bearer {tokens['alice']}", basic(f"x:{tokens['alice']}")):
        assert answer(harness, request("GET /none HTTP/1.1", Authorization=header))[0] == 404


def test_a_wrong_token_is_refused_later(make: Make, tmp_path: Path) -> None:
    """The connection waits, and others do not."""
    path, tokens = write_identities(tmp_path, alice="")
    harness = make("--identities", path)
    with connect(harness, request("GET /none HTTP/1.1", Authorization="Bearer alice.x")) as client:
        harness.turn()
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        assert answer(harness, request("GET /none HTTP/1.1", Authorization=f"Bearer {tokens['alice']}"))[0] == 404
        harness.reactor.advance(0.2)
        assert parsed(read(client, harness))[0] == 401
    assert len(harness.log.having("refused 127.0.0.1")) == harness.factory.state.refusals["token-refused"] == 1


def test_a_client_may_leave_before_its_token_is_refused(make: Make, tmp_path: Path) -> None:
    """Nothing is answered then."""
    path, _ = write_identities(tmp_path, alice="")
    harness = make("--identities", path)
    connect(harness, request("GET /none HTTP/1.1", Authorization="Bearer alice.x")).close()
    harness.turn()
    assert not harness.factory.connections
    harness.reactor.advance(1.0)
    assert received(connect(harness, request("GET /healthz HTTP/1.1")), harness)


def test_a_browser_may_ask_without_a_token_what_is_allowed(make: Make, tmp_path: Path) -> None:
    """But only what the site's own pages need not ask."""
    path, _ = write_identities(tmp_path, alice="")
    status, _, _ = answer(make("--identities", path), request("OPTIONS /api HTTP/1.1", Origin="http://localhost"))
    assert status == 401

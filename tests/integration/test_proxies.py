"""Proxies in front of the server, as the page about them says; each is skipped where it is missing."""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gymtwist_conformance.reference_client import FramedClient
from gymtwist_conformance.reference_client.websocket_stream import WebSocketLink
from tests.support.background_programs import free_port, running
from tests.support.patience import PATIENCE
from tests.support.server_process import REPOSITORY, ServerProcess, connected

PAGE = REPOSITORY / "docs" / "how-to" / "use-a-proxy.md"
CONFIGURATIONS = dict(re.findall(r"^## (nginx|Caddy)\n.*?^```text\n(.*?)^```$", PAGE.read_text(), re.M | re.S))
NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{}}
http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
uwsgi_temp_path uwsgi; scgi_temp_path scgi;
{}
}}
"""


@pytest.fixture(params=["nginx", "Caddy"])
def port(request: pytest.FixtureRequest, server: ServerProcess, tmp_path: Path) -> Iterator[int]:
    """The port of a proxy for the server."""
    name = str(request.param)
    program = shutil.which(name.lower())
    if program is None:
        pytest.skip(f"there is no {name}")
    port = free_port()
    text = CONFIGURATIONS[name].replace("8080", str(port)).replace("5001", str(server.port))
    file = tmp_path / "configuration"
    if name == "nginx":
        file.write_text(NGINX.format(text))
        command = [program, "-p", str(tmp_path), "-c", str(file)]
    else:
        file.write_text("{\nadmin off\nauto_https off\n}\n" + text)
        command = [program, "run", "--adapter", "caddyfile", "--config", str(file)]
    with running(command, tmp_path):
        connected(("127.0.0.1", port)).close()
        yield port


def status_of(port: int, path: str, **headers: str) -> int:
    """Return the status of an answer."""
    request = urllib.request.Request(f"http://localhost:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_proxy_lets_the_page_and_sessions_through(port: int) -> None:
    """Pages of its own may use the server, and others may not."""
    assert status_of(port, "/") == 200
    assert status_of(port, "/api/sessions", Origin=f"http://localhost:{port}") == 200
    assert status_of(port, "/api/sessions", Origin="http://example.org") == 403
    link: Any = WebSocketLink(connected(("127.0.0.1", port)), "netstring")
    with FramedClient(link, "netstring") as client:
        client.make("CartPole-v1")
        client.play()

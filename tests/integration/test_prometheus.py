"""Prometheus scrapes the server as the page about monitoring says, and evaluates its alerts and the dashboard."""

from __future__ import annotations

import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

import gymtwist.client
from tests.support.background_programs import free_port, running
from tests.support.identity_files import write_identities
from tests.support.patience import PATIENCE
from tests.support.process_inspection import eventually
from tests.support.server_process import REPOSITORY, ServerProcess, connected

PROMETHEUS = shutil.which("prometheus")
PAGE = (REPOSITORY / "docs" / "how-to" / "monitor.md").read_text()
DASHBOARD = json.loads((REPOSITORY / "docs" / "reference" / "grafana-dashboard.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
ALERTS = re.findall(r"^\| `(.*?)` \|", PAGE, re.M)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PROMETHEUS, reason="there is no Prometheus")]


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, port: int) -> None:
        self._port = port

    def is_ready(self) -> bool:
        """Return whether it answers queries."""
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            return False
        return True

    def ask(self, expression: str) -> list[Any]:
        """Return the values of an expression, in which Grafana's variables stand for what it sets."""
        text = expression.replace("$__rate_interval", "4s").replace("$instance", ".*")
        query = urllib.parse.urlencode({"query": text})
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/query?{query}", timeout=PATIENCE) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        values: list[Any] = told["data"]["result"]
        return values


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, str]]:
    """A server with identities, and the token of one that may see all sessions."""
    directory = tmp_path_factory.mktemp("identities")
    file, tokens = write_identities(directory, prometheus="see-all = true\n", ada="")
    with ServerProcess(directory, "--identities", file) as server:
        yield server, tokens["prometheus"]


@pytest.fixture(scope="module")
def prometheus(
    module_server: ServerProcess, guarded: tuple[ServerProcess, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes both servers each second."""
    directory, port = tmp_path_factory.mktemp("prometheus"), free_port()
    (block,) = re.findall(r"^```text\n(scrape_configs:\n.*?)^```$", PAGE, re.M | re.S)
    (authorization,) = re.findall(r"`(authorization:\s+\{credentials_file: TOKEN_FILE\})`", PAGE)
    server, token = guarded
    (directory / "token").write_text(token)
    second = block.partition("\n")[2].replace("job_name: gymtwist", "job_name: identities")
    lines = [
        "global: {scrape_interval: 1s}",
        block.replace("5001", str(module_server.port)).rstrip(),
        second.replace("5001", str(server.port)).rstrip(),
        "    " + " ".join(authorization.replace("TOKEN_FILE", "token").split()),
    ]
    (directory / "prometheus.yml").write_text("\n".join(lines) + "\n")
    options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}")
    with running([str(PROMETHEUS), *options], directory):
        connected(("127.0.0.1", port)).close()
        started = Prometheus(port)
        eventually(started.is_ready, PATIENCE, "a Prometheus that is ready")
        yield started


def test_both_servers_are_scraped(prometheus: Prometheus) -> None:
    """With the configuration of the page; the one with identities by a token."""
    eventually(lambda: [each["value"][1] for each in prometheus.ask("up")] == ["1", "1"], PATIENCE, "both targets up")


def test_every_panel_and_alert_has_values(prometheus: Prometheus, module_server: ServerProcess) -> None:
    """While one client plays, others leave, and connections are refused."""
    assert len(EXPRESSIONS) > 20
    assert len(ALERTS) == 4
    with gymtwist.client.connect(module_server.port, "CartPole-v1") as env:
        env.reset(seed=1)
        missing = set(EXPRESSIONS)

        def play() -> bool:
            with gymtwist.client.connect(module_server.port, "CartPole-v1") as other:
                other.reset(seed=1)
            with connected(("127.0.0.1", module_server.port)) as refused:
                refused.sendall(b"\xff\xff\xff\xff")  # a frame of 4 GB
                assert refused.recv(1 << 16)
            for _ in range(50):
                if any(env.step(env.action_space.sample())[2:4]):
                    env.reset()
            missing.difference_update(each for each in list(missing) if prometheus.ask(each))
            return not missing

        try:
            eventually(play, PATIENCE, "values of all")
        except AssertionError as error:
            raise AssertionError(f"no values of {missing}") from error
    for alert in ALERTS:
        assert prometheus.ask(alert) == []
        assert prometheus.ask(re.sub(r" (==|>) [\d.]+$", "", alert)) != []

"""The pages on clients and on conformance: their commands end well, and what they show is what there is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gymtwist_conformance.command import main
from gymtwist_conformance.reference_client.shared_region import IS_POSSIBLE
from gymtwist_conformance.scenarios import SCENARIOS
from gymtwist_conformance.server_checks import THEMES
from tests.support.forked_programs import Ended, Programs
from tests.support.patience import PATIENCE
from tests.support.server_process import REPOSITORY, ServerProcess, connected

CLIENTS, CONFORMANCE = (REPOSITORY / "docs" / "how-to" / f"{name}.md" for name in ("write-a-client", "conformance"))
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LAYOUT = re.compile(r"^(?P<bytes>(?:[0-9a-f]{2} )+) *(?P<meaning>\S.*)$", re.MULTILINE)


def blocks(page: Path) -> list[str]:
    """Return the blocks of commands of a page, but for those with netcat, which not every machine has."""
    return [block for block in _CONSOLE.findall(page.read_text()) if "| nc " not in block]


def free_port() -> int:
    """Return a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Runs programs in Python."""
    with Programs(tmp_path_factory.mktemp("programs"), "gymnasium", "msgspec", "pytest") as running:
        yield running


@pytest.mark.parametrize(
    "block", dict.fromkeys(blocks(CLIENTS) + blocks(CONFORMANCE)), ids=lambda block: block.split("\n")[0][:60]
)
def test_the_commands_of_a_page(module_server: ServerProcess, programs: Programs, block: str, tmp_path: Path) -> None:
    """Each ends without an error, as it stands but for the ports; the judge waits for the command below it.

    Of the commands that run checks a few checks are enough: `tests/conformance` runs each against a real server.
    """
    ports = {"5001": str(module_server.port), "5002": str(free_port())}
    judges: list[subprocess.Popen[str]] = []
    for line in block.replace("\\\n", " ").splitlines():
        for documented, real in ports.items():
            line = line.replace(documented, real)
        if line.endswith(f" server 127.0.0.1:{ports['5001']}"):
            line += " --only pipelining"
        line = line.replace("--only refusal ", "--only refusal.invalid-seed ")
        program, *words = shlex.split(line)
        if program != "python":
            if shutil.which(program) is None:
                pytest.skip(f"there is no {program} here")
            ended = run_program(program, *words, directory=tmp_path)
        elif "--port" in words:
            judge = subprocess.Popen(
                [sys.executable, *words],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            judges.append(judge)
            assert judge.stderr is not None
            assert judge.stderr.readline() == f"listening on port {ports['5002']}\n"
            continue
        else:
            ended = programs.run(REPOSITORY, *words)
        assert (ended.status, ended.errors) == (0, ""), ended.output
        assert ended.output or judges
    for judge in judges:
        output = judge.communicate(timeout=PATIENCE)[0]
        assert judge.returncode == 0, output


def run_program(*words: str, directory: Path) -> Ended:
    """Run a program that is not in Python; a compiler needs long, and a directory."""
    ended = subprocess.run(
        words,
        cwd=REPOSITORY,
        env={**os.environ, "GOCACHE": str(directory)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def test_the_session_by_hand(module_server: ServerProcess) -> None:
    """What is piped into netcat gets the replies that are shown, up to the numbers that depend on the machine."""
    page = CLIENTS.read_text()
    (said,) = re.findall(r"^printf '(.*)' \| nc 127\.0\.0\.1 5001$", page, re.MULTILINE)
    shown = re.findall(r"^(\d+):(\{.*\}),$", page, re.MULTILINE)
    with connected(("127.0.0.1", module_server.port)) as connection, connection.makefile("rb") as replies:
        connection.sendall(said.encode())
        data = replies.read().decode()
    for number, (length, payload) in enumerate(shown):
        told, _, rest = data.partition(":")
        reply, data = rest[: int(told)], rest[int(told) + 1 :]
        assert length == told or (number == 0 and not IS_POSSIBLE)
        if number == 0:
            assert reply.startswith(payload.partition(" ...")[0])
            continue
        expected: dict[str, Any] = json.loads(payload)
        observed = json.loads(reply)
        assert observed.pop("observation", []) == pytest.approx(expected.pop("observation", []))
        assert observed == expected
    assert data == ""


def test_the_bytes_of_a_layout() -> None:
    """Are those of the element that the page names."""
    page = CLIENTS.read_text().partition("## Values")[2].partition("## Int32")[0]
    found = bytes.fromhex("".join(match["bytes"] for match in _LAYOUT.finditer(page)))
    assert found == (3).to_bytes(8, "little") + bytes.fromhex("0000003f") + bytes.fromhex("000080bf")


def test_the_bytes_of_a_request() -> None:
    """Are those of the message that the page names, in its frame."""
    page = CLIENTS.read_text().partition("## Int32")[2]
    found = bytes.fromhex("".join(match["bytes"] for match in _LAYOUT.finditer(page)))
    body = b"\x82\xa2op\xa4step\xa6action\xc4\x08" + (1).to_bytes(8, "little")
    assert found == len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("command", ["server", "client"])
def test_the_page_names_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that the help of a command prints."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out.partition("options:")[0])) - {"--help"}
    page = CONFORMANCE.read_text()
    assert options
    assert options <= set(re.findall(r"--[a-z][a-z-]+", page))


def test_the_tables_are_complete() -> None:
    """Every theme of checks and every scenario is there, and no other."""
    page = CONFORMANCE.read_text()
    themes = re.findall(r"^\| `([\w-]+)` \| [^`|]", page.partition("| theme |")[2].partition("\n\n")[0], re.MULTILINE)
    assert themes == list(THEMES)
    scenarios = re.findall(r"^\| `(\w+)` \| `(Conformance/\S+)` \|", page, re.MULTILINE)
    assert scenarios == [(each.name, each.id) for each in SCENARIOS]

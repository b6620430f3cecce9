"""The example clients in several languages: short, and each plays with a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.server_process import REPOSITORY, ServerProcess
from tools.vectors.__main__ import DIRECTORY as VECTORS

EXAMPLES = REPOSITORY / "examples"
#: How each random agent is started, and with which program.
AGENTS = {
    "random_agent.py": ["python"],
    "random_agent.js": ["node"],
    "websocket_agent.mjs": ["node"],
    "random_agent.go": ["go", "run"],
}
#: Seconds that an example may take; the first program of Go's compiles a part of its library.
PATIENCE = 600.0


def run(words: Sequence[str | Path], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; what it makes besides is put into a directory."""
    changes = {"GOCACHE": str(directory / "go"), "GO111MODULE": "off", "GOFLAGS": "-p=1"}
    return subprocess.run(
        [str(word) for word in words],
        cwd=directory,
        env={**os.environ, **changes},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples are run: one directory, so that what Go compiles is compiled once."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest) -> list[str | Path]:
    """The words that start a random agent."""
    program, *words = AGENTS[request.param]
    found = sys.executable if program == "python" else shutil.which(program)
    if found is None:
        pytest.skip(f"there is no {program} here")
    return [found, *words, EXAMPLES / request.param]


@pytest.mark.parametrize(("environment", "least", "most"), [("CartPole-v1", 8, 500), ("Pendulum-v1", 200, 200)])
def test_an_agent_plays_episodes(
    module_server: ServerProcess, agent: list[str | Path], directory: Path, environment: str, least: int, most: int
) -> None:
    """It tells the length and the return of each, with actions of its own or of the server's."""
    ended = run([*agent, f"127.0.0.1:{module_server.port}", environment, "4"], directory)
    assert (ended.returncode, ended.stderr) == (0, "")
    told = re.findall(r"^episode (\d): (\d+) steps, return (\S+)$", ended.stdout, re.MULTILINE)
    assert [int(number) for number, _, _ in told] == [1, 2, 3, 4]
    assert all(least <= int(steps) <= most for _, steps, _ in told)
    if environment == "CartPole-v1":
        assert all(float(total) == int(steps) for _, steps, total in told)
        assert len({steps for _, steps, _ in told}) > 1
    else:
        assert all(-2000 < float(total) < 0 for _, _, total in told)


@pytest.mark.parametrize(
    ("environment", "code", "words"),
    [
        ("CartPole-v7", "unknown-environment", 'unknown environment "CartPole-v7"'),
        ("Fault/RaiseInStep-v0", "environment-fault", "the pole is not there"),
    ],
)
def test_an_agent_prints_an_error(
    module_server: ServerProcess, agent: list[str | Path], directory: Path, environment: str, code: str, words: str
) -> None:
    """With the code and the message of the server, and ends with a status that says so."""
    ended = run([*agent, f"127.0.0.1:{module_server.port}", environment], directory)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: {code}: ")
    assert words in ended.stderr


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_is_short(name: str) -> None:
    """So that it is read before it is run."""
    assert len((EXAMPLES / name).read_text().splitlines()) < 80


def test_the_plain_agent_needs_no_library() -> None:
    """Nothing but what comes with Python."""
    imports = re.findall(r"^import (\w+)$", (EXAMPLES / "random_agent.py").read_text(), re.MULTILINE)
    assert set(imports) <= set(sys.stdlib_module_names)
    assert "from " not in (EXAMPLES / "random_agent.py").read_text()


def test_the_vector_agent(module_server: ServerProcess, directory: Path) -> None:
    """It steps several environments in the Int32 protocol."""
    program = EXAMPLES / "vector_agent.py"
    words: list[str | Path] = [sys.executable, program, f"127.0.0.1:{module_server.port}", "CartPole-v1", "4", "200"]
    ended = run(words, directory)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "4 environments, observations of float32 and shape (4, 4)\n" in ended.stdout
    assert re.search(r"^\d\d+ episodes, [\d,]+ steps/s$", ended.stdout, re.MULTILINE)


def test_the_agents_of_asyncio(module_server: ServerProcess, directory: Path) -> None:
    """Each plays an episode of its own, in one process."""
    words: list[str | Path] = [
        sys.executable,
        EXAMPLES / "asyncio_agents.py",
        f"127.0.0.1:{module_server.port}",
        "CartPole-v1",
        "6",
    ]
    ended = run(words, directory)
    assert (ended.returncode, ended.stderr) == (0, "")
    told = re.findall(r"^agent (\d): (\d+) steps, return (\d+)\.0$", ended.stdout, re.MULTILINE)
    assert [number for number, _, _ in told] == list("012345")
    assert all(steps == total for _, steps, total in told)


def test_the_golden_vectors_are_checked(directory: Path) -> None:
    """By the example that says how a client of one's own can do it."""
    ended = run([sys.executable, EXAMPLES / "check_vectors.py", VECTORS], directory)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(r"(?:\w+: \d+ vectors are right\n){2}", ended.stdout)


def test_a_judged_example(directory: Path) -> None:
    """The conformance suite finds nothing wrong with the example that plays a scenario of it."""
    words = [sys.executable, "-m", "gymtwist_conformance", "client", "--port", "0", "--scenario", "echo"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY) as judge:
        assert judge.stderr is not None
        port = judge.stderr.readline().rpartition(" ")[2].strip()
        ended = run([sys.executable, EXAMPLES / "play_echo.py", f"127.0.0.1:{port}"], directory)
        assert (ended.returncode, ended.stderr) == (0, "")
        verdict = judge.communicate(timeout=PATIENCE)[0]
    assert judge.returncode == 0, verdict

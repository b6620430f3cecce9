"""What an operator does while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from twisted.internet.error import ReactorNotRunning

from gymtwist.server.command_line import Options
from gymtwist.server.identities import load, new_token
from gymtwist.server.operations import CannotReload, Operations
from tests.support.connection_fixtures import CARTPOLE, Make, connect, error_of, read, serving
from tests.support.harness import Harness
from tests.support.identity_files import write_identities
from tests.unit.server.test_gym_protocol_identities import framed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of options."""
    path = tmp_path / "gymsock.toml"
    path.write_text("")
    return path


def operated(make: Make, path: Path, *words: str) -> tuple[Harness, Operations]:
    """Make a server with a file of options, and what its operator may do."""
    options = Options()
    options.parseOptions(["--config", str(path), *words])
    harness = make(*options.words)
    return harness, Operations(harness.factory, options.words)


def test_a_session_is_ended(make: Make, path: Path) -> None:
    """Its client reads the end of the stream, its worker finishes, and the log says who and why."""
    harness, operations = operated(make, path)
    client, process = serving(harness)
    process.begin()
    assert operations.end(1, "root", "lunch\n")
    assert client.recv(1) == b""
    process.answer()
    harness.turn()
    assert harness.log.having(r"[control] root ends session 1: lunch\x0a") or harness.log.having("root ends session 1")
    assert harness.log.having("ended: an operator ended it (root: lunch")
    assert not any("\n" in line for line in harness.log.lines)
    client.close()
    assert not operations.end(1, "root")


def test_other_limits_hold_for_what_comes(make: Make, path: Path) -> None:
    """A connection that waits is admitted if there is room now; sessions that run go on."""
    path.write_text("max-sessions = 1\nqueue = 1")
    harness, operations = operated(make, path)
    one, process = serving(harness)
    two = connect(harness, CARTPOLE)
    assert len(harness.starter.serving) == 1
    path.write_text("max-sessions = 2\nqueue = 0\nidle-timeout = 5")
    assert operations.reload("root").changed == ["max-sessions is 2", "queue is 0", "idle-timeout is 5"]
    harness.turn()
    assert len(harness.starter.serving) == 2
    three = connect(harness, CARTPOLE)
    assert "the server is full: 2 of 2" in error_of(read(three, harness))
    process.begin()
    harness.reactor.advance(1.0)
    for client in (one, two, three):
        client.close()


def test_a_worker_that_was_started_before_keeps_to_what_changed(make: Make, path: Path) -> None:
    """It gets the difference with its job."""
    harness, operations = operated(make, path)
    path.write_text('allow = ["CartPole-*"]\nstep-timeout = 4')
    operations.reload("root")
    client, process = serving(harness)
    assert msgspec.json.decode(process.job["overrides"]) == {
        "allow": ["CartPole-*"],
        "limits": {"idle": 600.0, "step": 4.0},
    }
    path.write_text("")
    operations.reload("root")
    other, process = serving(harness)
    assert process.job["overrides"] == b""
    for each in (client, other):
        each.close()


def test_identities_come_and_go(make: Make, path: Path, tmp_path: Path) -> None:
    """The log says which."""
    file, _ = write_identities(tmp_path, alice="", bob="", carol="")
    harness, operations = operated(make, path, "--identities", file)
    text = Path(file).read_text()
    Path(file).write_text(text.replace("[bob]", "[bert]").replace("[carol]", "[carol]\nmax-envs = 3"))
    assert operations.reload("root").changed == [
        "identities added: bert",
        "identities removed: bob",
        "identities changed: carol",
    ]
    assert harness.factory.identities["carol"].max_envs == 3
    assert operations.reload("root").changed == []
    assert harness.log.having("nothing has changed")


def test_what_needs_a_restart_is_named(make: Make, path: Path) -> None:
    """And stays as it was, each time."""
    harness, operations = operated(make, path, "--warm", "1")
    path.write_text("seed = 3\nqueue = 7")
    assert operations.reload("root") == operations.reload("root").__class__(["queue is 7"], ["seed"])
    assert harness.factory.options.seed is None
    assert operations.reload("root").ignored == ["seed"]


@pytest.mark.parametrize("text", ["queue = -1", "queue", "zzz = 3"])
def test_a_file_that_is_wrong_changes_nothing(make: Make, path: Path, text: str) -> None:
    """The error is that of the start."""
    path.write_text("queue = 3")
    harness, operations = operated(make, path)
    path.write_text(f"max-sessions = 7\n{text}")
    with pytest.raises(CannotReload, match=f"--config {path}: "):
        operations.reload("root")
    assert harness.factory.options.max_sessions == 256
    (line,) = harness.log.having("stay as they were")
    assert str(path) in line


def test_identities_cannot_be_given_up(make: Make, path: Path, tmp_path: Path) -> None:
    """The ports that others reach would be open."""
    file, _ = write_identities(tmp_path, alice="")
    path.write_text(f'identities = "{file}"')
    harness, operations = operated(make, path)
    path.write_text("")
    with pytest.raises(CannotReload, match="cannot do without them"):
        operations.reload("root")
    Path(file).write_text("[alice]")
    path.write_text(f'identities = "{file}"')
    with pytest.raises(CannotReload, match=f"--identities {file}: \\[alice\\]: nobody can use it"):
        operations.reload("root")
    assert harness.factory.identities.names == {"alice"}


def test_a_server_that_is_drained_begins_no_session(make: Make, path: Path) -> None:
    """The one that runs goes on; a second order changes nothing."""
    harness, operations = operated(make, path)
    client, process = serving(harness)
    assert (operations.drain("root"), operations.drain("root")) == (1, 1)
    other = connect(harness, CARTPOLE)
    assert "shutting down" in error_of(read(other, harness))
    assert len(harness.log.having("drains the server: 1 session may go on")) == 1
    assert process in harness.starter.serving
    for each in (client, other):
        each.close()


def test_a_client_that_waits_needs_its_identity_until_it_is_served(make: Make, path: Path, tmp_path: Path) -> None:
    """One whose token was taken away is refused; others have their new limits."""
    file, tokens = write_identities(tmp_path, alice="", bob="", carol="")
    harness, operations = operated(make, path, "--identities", file, "--max-sessions", "1")
    first, process = serving(harness, framed(token=tokens["carol"]))
    process.begin()
    alice, bob = (connect(harness, framed(token=tokens[name])) for name in ("alice", "bob"))
    _, hashed = new_token("alice")
    text = Path(file).read_text()
    stored = load(file)["alice"].token
    assert stored is not None
    Path(file).write_text(text.replace(stored, hashed).replace("[bob]", "[bob]\nkwargs = 'none'"))
    operations.reload("root")
    process.answer()
    harness.turn()
    assert b"token-refused" in read(alice, harness)
    overrides = msgspec.json.decode(harness.starter.serving[-1].job["overrides"])
    assert overrides == {"kwargs": "none", "identity": "bob"}
    for each in (first, alice, bob):
        each.close()


def test_settings_that_no_job_can_carry_are_refused(make: Make, path: Path) -> None:
    """Sessions would not begin any more."""
    _, operations = operated(make, path)
    path.write_text(f"allow = ['{40_000 * 'x'}']")
    with pytest.raises(CannotReload, match="takes more than 30000 bytes"):
        operations.reload("root")


def test_the_time_for_requests_changes_with_the_options(make: Make, path: Path) -> None:
    """As that for handshakes does."""
    harness, operations = operated(make, path)
    path.write_text("opening-timeout = 2")
    operations.reload("root")
    client = connect(harness, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n")
    harness.reactor.advance(2.1)
    assert read(client, harness).startswith(b"HTTP/1.1 408")
    client.close()


def test_sessions_that_end_together_stop_a_drained_server_once(make: Make, path: Path) -> None:
    """As a signal may stop it before."""
    harness, operations = operated(make, path)
    (one, first), (other, second) = serving(harness), serving(harness)
    operations.drain("root")
    stops: list[int] = []

    def stop() -> None:
        stops.append(1)
        if len(stops) > 1:
            raise ReactorNotRunning

    reactor: Any = harness.reactor
    reactor.running, reactor.stop = True, stop
    for process in (first, second):
        process.answer()
    harness.turn()
    assert len(stops) == 2
    for each in (one, other):
        each.close()

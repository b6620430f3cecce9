"""Sessions without a connection: who may go on with them, what they outlive, and when they end."""

from __future__ import annotations

import logging
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import gymtwist.client as gymtwist
from gymtwist_conformance.reference_client import ENCODINGS, INT32, Failed, FramedClient
from tests.conftest import Start
from tests.support.cutting_proxy import CuttingProxy
from tests.support.identity_files import write_identities
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, eventually, left_after
from tests.support.server_process import ServerProcess, connected

#: Whether to measure the coverage of its server.
MEASURED = True
OPTIONS = ("--step-timeout", "3", "--max-disconnected", "3")
CHOSEN = "Fault/Chosen-v0"
#: What Chosen can be told to do.
NOTHING, SEGFAULT, HANG = range(3)


class Resumable:
    """A client that makes an environment, and can lose its connection."""

    def __init__(self, server: ServerProcess, encoding: str = INT32, environment: str = CHOSEN, **fields: Any) -> None:
        """Make the environment."""
        self.server, self.encoding = server, encoding
        self.received = 0
        self.client = self.open()
        self.made = self.client.make(environment, **{"resume": 60, **fields})
        self.number = int(self.secret.partition(".")[0])

    def open(self) -> FramedClient:
        """Connect."""
        mark = self.server.mark()
        client = FramedClient(connected(("127.0.0.1", self.server.port)), self.encoding)
        self.server.note(client, mark)
        return client

    @property
    def secret(self) -> str:
        """The secret of the session."""
        return str(self.made["resume"]["secret"])

    def reset(self) -> None:
        """Begin an episode."""
        self.client.reset()
        self.received += 1

    def step(self, action: int = NOTHING) -> dict[str, Any]:
        """Take a step."""
        info = self.client.step(action).info
        self.received += 1
        return info

    def lose(self, *, is_noticed: bool = True) -> None:
        """Lose the connection; the server may have noticed that afterwards, or not."""
        mark = self.server.mark()
        if is_noticed:
            self.client.close()
            self.server.wait_for(rf"\[session {self.number}\] lost its connection", since=mark)

    def ask(self, **fields: Any) -> FramedClient:
        """Ask for the session over another connection, which becomes that of this client if it is granted."""
        client = self.open()
        client.say("resume", **{"secret": self.secret, "received": self.received, **fields})
        return client

    def resume(self, **fields: Any) -> int:
        """Go on over another connection; return how many requests the server has."""
        client = self.ask(**fields)
        known = client.reply("resume")["received"]
        client.actions, client.observations = self.client.actions, self.client.observations
        self.client = client
        return int(known)

    def refused(self, **fields: Any) -> str:
        """Fail to go on; return the code of the error."""
        with self.ask(**fields) as client, pytest.raises(Failed) as caught:
            client.reply("resume")
        return caught.value.code

    def end(self) -> str:
        """Wait for the end of the session; return why it has ended."""
        return self.server.wait_for(rf"\[session {self.number}\] ended: (.*)").group(1)


@pytest.fixture(params=ENCODINGS)
def resumable(server: ServerProcess, request: pytest.FixtureRequest) -> Iterator[Resumable]:
    """A client with an episode, whose session ends with the test."""
    found = Resumable(server, str(request.param))
    found.reset()
    yield found
    if not server.search(rf"\[session {found.number}\] ended", 0):
        found.resume()
        found.client.ask("close")


def test_a_lost_reply_is_given_again(resumable: Resumable) -> None:
    """The step whose reply was lost has been taken once."""
    resumable.step()
    resumable.client.say("step", action=resumable.client.actions.dump(NOTHING))
    resumable.client.hear()  # and count it as lost
    resumable.lose()
    assert resumable.resume() == 3
    assert resumable.client.read_step().info["steps"] == 2
    resumable.received += 1
    assert resumable.step()["steps"] == 3


def test_a_part_of_a_request_is_forgotten(resumable: Resumable) -> None:
    """The client sends it again, whole."""
    resumable.client.send(b"\0\0\0\x10\x82" if resumable.encoding == INT32 else b'24:{"op":"st')
    resumable.lose()
    assert resumable.resume() == 1
    assert resumable.step()["steps"] == 1


def test_a_connection_that_the_server_holds_for_good(resumable: Resumable) -> None:
    """Loses its session to the new one, and reads its end."""
    old = resumable.client
    resumable.lose(is_noticed=False)
    assert resumable.resume() == 1
    assert resumable.step()["steps"] == 1
    with old, pytest.raises((EOFError, ConnectionError)):
        old.hear()


def test_who_does_not_know_the_secret(resumable: Resumable) -> None:
    """Is told no more than that of a session that does not exist; the session goes on."""
    number = resumable.number
    for secret in (f"{number}.wrong", f"{number + 1000}.wrong", "wrong", f"{number}", resumable.secret + "x", "²."):
        assert resumable.refused(secret=secret) == "unknown-session"
    assert resumable.step()["steps"] == 1


def test_another_protocol(resumable: Resumable) -> None:
    """The replies that are kept are in that of the session."""
    own = resumable.encoding
    resumable.encoding = next(each for each in ENCODINGS if each != own)
    assert resumable.refused() == "unknown-session"
    resumable.encoding = own


def test_a_count_that_cannot_be(resumable: Resumable) -> None:
    """Is refused without harm to the session: it waits on."""
    resumable.lose()
    assert resumable.refused(received=7) == "replies-lost"
    assert resumable.resume() == 1
    assert resumable.step()["steps"] == 1


def test_replies_that_are_not_kept(server: ServerProcess) -> None:
    """Only the last one is kept of those that are large."""
    resumable = Resumable(server, environment="ALE/Pong-v5")
    resumable.reset()
    for _ in range(15):  # of a tenth of a megabyte each
        resumable.client.step(0)
    resumable.lose()
    assert resumable.refused() == "replies-lost"
    assert resumable.resume(received=11) == 16
    for _ in range(5):
        resumable.client.read_step()
    resumable.client.ask("close")


def test_close_ends_the_session_at_once(resumable: Resumable) -> None:
    """Nobody waits for a client that is done."""
    resumable.client.ask("close")
    assert resumable.end().startswith("the client left")
    assert resumable.refused() == "unknown-session"


@pytest.mark.parametrize("deed", [SEGFAULT, HANG])
@pytest.mark.parametrize("is_lost", [False, True], ids=["connected", "disconnected"])
def test_a_crash(resumable: Resumable, deed: int, is_lost: bool) -> None:
    """Closes the connection; the client that comes back gets the error, and goes on after a reset."""
    before = Handle(resumable.step()["process"])
    resumable.client.say("step", action=resumable.client.actions.dump(deed))
    if is_lost:
        resumable.client.close()
    else:
        with pytest.raises(EOFError):
            resumable.client.hear()
    assert not left_after([before], PATIENCE)
    assert resumable.resume() == 3
    with pytest.raises(Failed) as caught:
        resumable.client.read_step()
    assert (caught.value.code, caught.value.reset_needed) == ("environment-fault", True)
    resumable.received += 1
    resumable.reset()
    assert resumable.step()["steps"] == 1


def test_a_session_whose_client_does_not_come_back(server: ServerProcess) -> None:
    """Ends when its time is over, and is listed as disconnected until then."""
    resumable = Resumable(server, resume=1.5)
    assert resumable.made["resume"]["seconds"] == 1.5
    resumable.lose()
    assert resumable.end().startswith("the client did not come back within 1.5 s")
    assert resumable.refused() == "unknown-session"


def test_what_is_told_of_it(server: ServerProcess) -> None:
    """The API and the metrics have it; the log does not have its secret."""

    def read(path: str) -> str:
        with urllib.request.urlopen(f"http://localhost:{server.port}{path}", timeout=PATIENCE) as answer:
            return str(answer.read().decode())

    resumable = Resumable(server)
    resumable.lose()
    path = f"/api/sessions/{resumable.number}"
    eventually(lambda: msgspec.json.decode(read(path))["state"] == "disconnected", PATIENCE, "the state")
    assert "gymtwist_sessions_disconnected 1.0" in read("/metrics")
    assert resumable.resume() == 0
    assert "gymtwist_sessions_disconnected 0.0" in read("/metrics")
    found = re.search(r"gymtwist_session_reconnections_total (\d+)", read("/metrics"))
    assert found is not None
    assert int(found[1]) >= 1
    resumable.client.ask("close")
    resumable.end()
    assert resumable.secret not in "\n".join(server.lines)


def test_too_many(server: ServerProcess) -> None:
    """The session that has waited longest ends."""
    several = [Resumable(server) for _ in range(4)]
    for each in several:
        each.lose()
    assert several[0].end().startswith("there may be 3 sessions without a connection (--max-disconnected)")
    for each in several[1:]:
        each.resume()
        each.client.ask("close")


@pytest.fixture(scope="module")
def identified(tmp_path_factory: pytest.TempPathFactory, start_once: Start) -> tuple[ServerProcess, dict[str, str]]:
    """A server that keeps no sessions but those of alice, and the tokens of its clients."""
    path, tokens = write_identities(
        tmp_path_factory.mktemp("identities"),
        alice="max-disconnected = 1\nresume-timeout = 30\n",
        bob="resume-timeout = 0\n",
        carol="",
    )
    return start_once("--identities", path, "--resume-timeout", "0", "--warm", "1"), tokens


def test_another_identity(identified: tuple[ServerProcess, dict[str, str]]) -> None:
    """Cannot have the session even with the secret; quotas are those of the identity."""
    server, tokens = identified
    alice, other = (Resumable(server, token=tokens["alice"]) for _ in range(2))
    assert alice.made["resume"]["seconds"] == 30
    alice.lose()
    assert alice.refused(token=tokens["bob"]) == "unknown-session"
    assert alice.refused() == "token-refused"
    assert alice.resume(token=tokens["alice"]) == 0
    alice.lose()
    other.lose()
    assert alice.end().startswith('"alice" may have 1 sessions without a connection (max-disconnected)')
    other.resume(token=tokens["alice"])
    other.client.ask("close")
    with FramedClient(connected(("127.0.0.1", server.port)), INT32) as bob:
        assert "resume" not in bob.make(CHOSEN, resume=60, token=tokens["bob"])


def test_the_python_client_and_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It says that the session is lost with the server, as soon as that is known."""
    address = f"unix:{tmp_path / 'socket'}"
    with ServerProcess(tmp_path, "--warm", "1", port=address) as server:
        env = gymtwist.connect(address, "CartPole-v1", connect_timeout=PATIENCE, timeout=PATIENCE, resume=60)
        env.reset(seed=1)
        server.process.kill()
        server.process.wait(PATIENCE)
    with ServerProcess(tmp_path, "--warm", "0", port=address), caplog.at_level(logging.WARNING, "gymtwist.client"):
        with pytest.raises(gymtwist.ConnectionLost, match="cannot be resumed: no session waits for you") as caught:
            env.step(0)
        assert caught.value.code == "unknown-session"
        assert "make a new environment" in str(caught.value)
        with pytest.raises(gymtwist.ConnectionLost):
            env.step(0)
        env.close()
    assert "connecting again to resume the session, for up to 60 s" in caplog.text


def test_the_python_client_ends_what_nobody_closed(server: ServerProcess) -> None:
    """An environment that is forgotten does not wait for anybody."""
    mark = server.mark()
    env = gymtwist.connect(("127.0.0.1", server.port), "CartPole-v1", timeout=PATIENCE, resume=60)
    env.reset(seed=1)
    del env
    server.wait_for(r"ended: the client left; CartPole-v1 .* 0 steps", since=mark)


def test_the_python_client_says_that_the_session_goes_on(
    server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """After how long, and what became of the requests whose replies were lost."""
    with (
        CuttingProxy(("127.0.0.1", server.port), 1, 100, 1_000) as proxy,
        caplog.at_level(logging.WARNING, "gymtwist.client"),
        gymtwist.connect(("127.0.0.1", proxy.port), "CartPole-v1", timeout=PATIENCE, resume=60) as env,
    ):
        env.reset(seed=1)
        while proxy.cuts < 3 or "connecting again" not in caplog.text:
            if any(env.step(0)[2:4]):
                env.reset()
    expected = r"the session goes on after \d+\.\d s \(requests sent again: \d+; received by the server before: \d+\)"
    assert re.search(expected, caplog.text)


def test_a_server_that_keeps_no_sessions(
    identified: tuple[ServerProcess, dict[str, str]], recwarn: pytest.WarningsRecorder
) -> None:
    """The client is told, and plays without."""
    server, tokens = identified
    options: dict[str, Any] = {"timeout": PATIENCE, "resume": 60, "token": tokens["carol"]}
    with (
        CuttingProxy(("127.0.0.1", server.port), 1, 100, 1_000) as proxy,
        gymtwist.connect(("127.0.0.1", proxy.port), "CartPole-v1", **options) as env,
    ):
        assert any("--resume-timeout" in str(each.message) for each in recwarn)
        env.reset(seed=1)
        with pytest.raises(gymtwist.ConnectionLost, match="has ended"):
            for _ in range(1_000):
                env.step(0)
                env.reset()

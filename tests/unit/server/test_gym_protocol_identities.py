"""What a connection does with the identity of its client."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gymtwist_conformance.reference_client import ENCODINGS, message
from gymtwist_conformance.reference_client.classic_client import handshake
from tests.support.connection_fixtures import CARTPOLE, Make, connect, error_of, read, serving
from tests.support.identity_files import write_identities


def framed(**fields: object) -> bytes:
    """Encode a `make` message as a netstring."""
    text = msgspec.json.encode({"op": "make", "id": "CartPole-v1"} | fields)
    return b"%d:%s," % (len(text), text)


def replies(data: bytes) -> list[dict[str, object]]:
    """Decode netstrings."""
    found = []
    while data:
        size, _, rest = data.partition(b":")
        found.append(msgspec.json.decode(rest[: int(size)]))
        data = rest[int(size) + 1 :]
    return found


def test_a_token_admits_a_client(make: Make, tmp_path: Path) -> None:
    """Its worker gets what differs for it, and the log its name, but not the token."""
    path, tokens = write_identities(tmp_path, alice='kwargs = "none"')
    harness = make("--identities", path)
    client, process = serving(harness, framed(token=tokens["alice"]))
    assert msgspec.json.decode(process.job["overrides"]) == {"kwargs": "none", "identity": "alice"}
    process.answer()
    harness.turn()
    assert harness.log.having("started: CartPole-v1 for 127.0.0.1:") == harness.log.having(" as alice (netstring")
    assert not harness.log.having(tokens["alice"])
    client.close()


def test_without_a_token_a_client_may_try_again(make: Make, tmp_path: Path) -> None:
    """The connection stays open, and nothing is delayed."""
    path, tokens = write_identities(tmp_path, alice="")
    harness = make("--identities", path)
    client = connect(harness, framed())
    (reply,) = replies(client.recv(4096))
    assert (reply["op"], reply["code"], reply["fault"]) == ("error", "token-refused", "request")
    client.sendall(framed(token=tokens["alice"]))
    harness.turn()
    assert harness.starter.serving
    client.close()


@pytest.mark.parametrize(("limit", "own", "effective"), [(512, 256, 256), (512, 1024, 512), (0, 1024, 1024)])
def test_the_lower_limit_of_memory_counts(make: Make, tmp_path: Path, limit: int, own: int, effective: int) -> None:
    """An identity cannot have more memory than the server gives to a session."""
    path, tokens = write_identities(tmp_path, alice=f"memory-limit = {own}")
    harness = make("--identities", path, "--memory-limit", str(limit))
    client, process = serving(harness, framed(token=tokens["alice"]))
    assert msgspec.json.decode(process.job["overrides"])["memory_limit"] == effective << 20
    client.close()


def test_a_wrong_token_is_refused_later_each_time(make: Make, tmp_path: Path) -> None:
    """And its connection closed; a client with a valid one is served meanwhile."""
    path, tokens = write_identities(tmp_path, alice="")
    harness = make("--identities", path)
    for delay in (0.125, 0.25, 0.5):
        client = connect(harness, framed(token="alice.guess") + framed(token=tokens["alice"]))
        client.setblocking(False)
        harness.reactor.advance(delay - 0.01)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        harness.reactor.advance(0.01)
        (reply,) = replies(read(client, harness))
        assert reply["code"] == "token-refused"
        assert "guess" not in str(reply)
        client.close()
    assert not harness.starter.serving, "what came behind a wrong token is not read"
    valid, _ = serving(harness, framed(token=tokens["alice"]))
    valid.close()


def test_a_client_may_leave_while_its_refusal_is_delayed(make: Make, tmp_path: Path) -> None:
    """It is forgotten, as one that is dropped or whose server stops."""
    path, _ = write_identities(tmp_path, alice="")
    harness = make("--identities", path, "--max-handshakes", "1")
    for end in ("leave", "drop", "stop"):
        client = connect(harness, framed(token="alice.guess"))
        if end == "leave":
            client.close()
        elif end == "drop":
            client = connect(harness, b"")
        else:
            for connection in list(harness.factory.connections):
                connection.stop("the server is shutting down")
        harness.turn()
        client.close()
        harness.reactor.advance(10.0)
        harness.turn()
        assert not harness.factory.connections


def test_an_incomplete_handshake_leaves_no_token_in_the_log(make: Make, tmp_path: Path) -> None:
    """Only its first bytes are shown."""
    path, tokens = write_identities(tmp_path, alice="")
    harness = make("--identities", path)
    connect(harness, framed(token=tokens["alice"])[:-2]).close()
    connect(harness, b'99:{"token":"' + tokens["alice"].encode()).close()
    harness.turn()
    assert len(harness.log.having("it left after")) == 2
    assert not harness.log.having("alice")


def test_classic_clients_have_no_token(make: Make, tmp_path: Path) -> None:
    """They need a network, or a user, that needs none."""
    path, _ = write_identities(tmp_path, alice="")
    harness = make("--identities", path)
    client = connect(harness, CARTPOLE)
    assert "needs a token" in error_of(read(client, harness))
    client.close()
    path, _ = write_identities(tmp_path, '[lab]\nnetworks = ["127.0.0.0/8"]\nallow = ["CartPole-*"]', alice="")
    harness = make("--identities", path)
    client, _ = serving(harness, CARTPOLE)
    client.close()
    client = connect(harness, handshake("Pendulum-v1"))
    assert "it allows CartPole-*" in error_of(read(client, harness))
    client.close()


def test_an_identity_may_use_other_environments_than_the_rest(make: Make, tmp_path: Path) -> None:
    """Its list is instead of --allow."""
    path, tokens = write_identities(tmp_path, alice='allow = ["Pendulum-*"]', bob="")
    harness = make("--identities", path, "--allow", "CartPole-*")
    for name, allowed in {"alice": "Pendulum-v1", "bob": "CartPole-v1"}.items():
        for environment in ("Pendulum-v1", "CartPole-v1"):
            client = connect(harness, framed(id=environment, token=tokens[name]))
            if environment == allowed:
                assert harness.starter.serving
                harness.starter.serving[-1].answer()
            else:
                assert replies(client.recv(4096))[0]["code"] == "environment-refused"
            client.close()
            harness.turn()


def test_what_is_over_a_quota_is_refused(make: Make, tmp_path: Path) -> None:
    """In the client's own protocol; another identity does not notice."""
    path, tokens = write_identities(tmp_path, alice="max-sessions = 1", bob="")
    harness = make("--identities", path)
    one, _ = serving(harness, framed(token=tokens["alice"]))
    two = connect(harness, framed(token=tokens["alice"]))
    (reply,) = replies(read(two, harness))
    assert (reply["code"], reply["fault"]) == ("quota-exceeded", "request")
    bob, _ = serving(harness, framed(token=tokens["bob"]))
    for client in (one, two, bob):
        client.close()


def test_a_session_ends_when_its_time_is_up(make: Make, tmp_path: Path) -> None:
    """Whatever its client does."""
    path, tokens = write_identities(tmp_path, alice="session-seconds = 1e-9")
    harness = make("--identities", path)
    client, process = serving(harness, framed(token=tokens["alice"]))
    process.begin()
    harness.reactor.advance(1.0)
    harness.turn()
    assert client.recv(1) == b""
    process.answer()
    harness.turn()
    assert harness.log.having('ended: it has lasted 1e-09 s, as long as "alice" may (session-seconds)')
    client.close()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_list_needs_a_token_as_well(make: Make, tmp_path: Path, encoding: str) -> None:
    """It tells which environments there are."""
    path, tokens = write_identities(tmp_path, alice="")
    harness = make("--identities", path)
    client = connect(harness, message(encoding, op="envs"))
    assert client.recv(4096)
    assert not harness.starter.serving
    client.sendall(message(encoding, op="envs", token=tokens["alice"]))
    harness.turn()
    assert harness.starter.serving
    client.close()

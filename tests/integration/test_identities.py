"""A real server that lets only clients with an identity in."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import trustme

import gymtwist.client
from gymtwist_conformance.reference_client import ENCODINGS, INT32, Failed, FramedClient
from gymtwist_conformance.reference_client.classic_client import error_text, handshake
from tests.support.identity_files import write_identities
from tests.support.process_inspection import command_line
from tests.support.server_process import ServerProcess, connected, run_twistd

#: Looks for a text in the memory of its process; it is told the text backwards, so that it is not there for that.
SEARCH = """
import ctypes, re
import gymnasium
from gymnasium import spaces
from tests.support import sample_environments

class Search(gymnasium.Env):
    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        begin, end = options["backwards"][12:], options["backwards"][:12]
        found = 0
        for line in open("/proc/self/maps").read().splitlines():
            first, last = (int(each, 16) for each in line.split()[0].split("-"))
            if not line.split()[1].startswith("rw"):
                continue
            data = ctypes.string_at(first, last - first)
            found += sum(
                data[each.end() : each.end() + 12][::-1] == end.encode()
                for each in re.finditer(re.escape(begin[::-1].encode()), data)
            )
            del data
        return 0, {"found": found}

gymnasium.register("Search-v0", Search)
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, dict[str, str]]]:
    """A server with identities, and their tokens."""
    directory = tmp_path_factory.mktemp("guarded")
    path, tokens = write_identities(
        directory,
        alice="",
        carol='kwargs = "none"\nattributes = "none"\nwrappers = "none"\nmax-envs = 2\nallow = ["CartPole-*"]',
        dan='kwargs = "none"',
        erin="processor-seconds = 0.5",
        frank="memory-limit = 512",
        grace="max-frame = 65536",
    )
    setup = directory / "search.py"
    setup.write_text(SEARCH)
    allowed = (word for each in ("CartPole-*", "Pendulum-*", "Fault/*", "Search-*") for word in ("--allow", each))
    with ServerProcess(directory, "--identities", path, *allowed, setup=setup) as server:
        yield server, tokens


class Known(NamedTuple):
    """A server that knows its clients by more than tokens.

    Attributes:
        server: Its process.
        port: That of TLS.
        servers: The authority of its own certificate.
        clients: The authority of the certificates of its clients.
        token: That of alice.
    """

    server: ServerProcess
    port: int
    servers: trustme.CA
    clients: trustme.CA
    token: str


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """A server that knows users of a UNIX socket, certificates and tokens."""
    directory = tmp_path_factory.mktemp("known")
    servers, clients = trustme.CA(), trustme.CA()
    issued = servers.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    issued.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    clients.cert_pem.write_to_path(directory / "clients.pem")
    identities = f'[carol]\ncertificates = ["Carol of Vision"]\n[me]\nusers = [{os.getuid()}]\n'
    path, tokens = write_identities(directory, identities, alice="")
    secure = f"ssl:0:interface=127.0.0.1:privateKey={directory}/key.pem:certKey={directory}/cert.pem"
    endpoints = (word for each in (secure, f"unix:{directory}/socket") for word in ("--listen", each))
    with ServerProcess(
        directory, "--identities", path, "--client-ca", str(directory / "clients.pem"), *endpoints
    ) as server:
        port = int(server.wait_for(r"Listening on tls:127.0.0.1:(\d+)").group(1))
        yield Known(server, port, servers, clients, tokens["alice"])


def test_a_client_with_a_token_plays(
    guarded: tuple[ServerProcess, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the argument or by the environment variable; the name is in the log, the token is nowhere."""
    server, tokens = guarded
    with pytest.raises(gymtwist.client.RequestRefused, match="needs a token") as caught:
        gymtwist.client.connect(server.port, "CartPole-v1")
    assert caught.value.code == "token-refused"
    with gymtwist.client.connect(server.port, "CartPole-v1", token=tokens["alice"]) as env:
        observation, _ = env.reset(seed=1)
        assert env.observation_space.contains(observation)
        assert tokens["alice"] not in repr(env) + str(env.spec)
    server.wait_for(r"ended: the client left; CartPole-v1 for \S+ as alice")
    monkeypatch.setenv("GYMTWIST_TOKEN", tokens["alice"])
    assert {env.id for env in gymtwist.client.envs(server.port)} >= {"CartPole-v1", "Pendulum-v1"}
    with gymtwist.client.connect_vec(server.port, "CartPole-v1", num_envs=4, processes=2) as envs:
        assert envs.reset(seed=1)[0].shape == (4, 4)
    for process in (server.process.pid, *server.descendants()):
        assert tokens["alice"] not in command_line(process)  # of one that has just ended there is none
    assert not any(tokens["alice"] in line for line in server.lines)


def test_a_wrong_token_is_refused(guarded: tuple[ServerProcess, dict[str, str]]) -> None:
    """Later each time."""
    server, tokens = guarded
    begin = time.monotonic()
    for token in ("alice.guess", tokens["alice"][:-1], "nobody.guess"):
        with pytest.raises(gymtwist.client.RequestRefused, match="token is not valid"):
            gymtwist.client.connect(server.port, "CartPole-v1", token=token)
    assert time.monotonic() - begin >= 0.125 + 0.25 + 0.5
    server.wait_for("refused .*: the token is not valid")
    with server.connect() as client:
        client.send(handshake("CartPole-v1"))
        assert "needs a token" in error_text(client.read_to_end())


def test_a_worker_keeps_to_the_limits_of_an_identity(guarded: tuple[ServerProcess, dict[str, str]]) -> None:
    """Another identity has those of the options."""
    server, tokens = guarded
    connect, connect_vec = gymtwist.client.connect, gymtwist.client.connect_vec
    refusals = {
        "it allows: none": lambda token: connect(server.port, "CartPole-v1", sutton_barto_reward=True, token=token),
        "num_envs 3: ": lambda token: connect_vec(server.port, "CartPole-v1", num_envs=3, token=token),
        "Pendulum-v1": lambda token: connect(server.port, "Pendulum-v1", token=token),
        "TimeLimit": lambda token: connect(
            server.port,
            "CartPole-v1",
            wrappers=[{"name": "TimeLimit", "kwargs": {"max_episode_steps": 3}}],
            token=token,
        ),
        "gravity": lambda token: np.float64(
            connect(server.port, "CartPole-v1", token=token).get_wrapper_attr("gravity")
        ),
    }
    for words, ask in refusals.items():
        with pytest.raises((gymtwist.client.RemoteError, AttributeError), match=words):
            ask(tokens["carol"])
        made = ask(tokens["alice"])
        if hasattr(made, "close"):
            made.close()
    listed = {env.id for env in gymtwist.client.envs(server.port, token=tokens["carol"])}
    assert listed
    assert all("CartPole-" in each for each in listed)


def test_an_identity_outlives_a_crash(guarded: tuple[ServerProcess, dict[str, str]]) -> None:
    """The next process keeps to its limits as well."""
    server, tokens = guarded
    with gymtwist.client.connect(server.port, "Fault/SegfaultInStep-v0", token=tokens["dan"]) as env:
        env.reset(seed=1)
        with pytest.raises(gymtwist.client.EnvironmentFailed):
            env.step(env.action_space.sample())
        env.reset(seed=1)
        session = server.wait_for(r"\[session (\d+)\] started: .* as dan").group(1)
        server.wait_for(rf"\[session {session}\] resumed")
    server.wait_for(rf"\[session {session}\] ended: .* as dan")


def test_users_of_a_unix_socket_need_no_token(known: Known) -> None:
    """The kernel says who they are."""
    with gymtwist.client.connect(f"unix:{known.server.directory}/socket", "CartPole-v1") as env:
        env.reset(seed=1)
    known.server.wait_for("for a UNIX socket as me")
    with pytest.raises(gymtwist.client.RequestRefused, match="needs a token"):
        gymtwist.client.connect(known.server.port, "CartPole-v1")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            ("--port", "0", "--listen", "tcp6:0"),
            r"other machines can reach ::, so it needs TLS \(ssl:...\) and --identities",
        ),
        (("--port", "0", "--identities", "/dev/null"), "it names nobody"),
    ],
)
def test_a_server_that_would_be_open_does_not_start(tmp_path: Path, options: tuple[str, ...], problem: str) -> None:
    """Unless its operator says that the network is trusted."""
    done = run_twistd("-n", "--pidfile=", "gymsock", *options, directory=tmp_path)
    assert done.returncode == 1
    assert re.search(problem, " ".join(done.stdout.split())), done.stdout


def test_a_session_has_so_much_processor_time(guarded: tuple[ServerProcess, dict[str, str]]) -> None:
    """Over all its processes; a session of another identity goes on."""
    server, tokens = guarded
    with (
        gymtwist.client.connect(server.port, "CartPole-v1", token=tokens["alice"]) as other,
        gymtwist.client.connect(server.port, "CartPole-v1", token=tokens["erin"]) as env,
    ):
        other.reset(seed=1)
        env.reset(seed=1)
        with pytest.raises(gymtwist.client.ConnectionLost):
            while True:
                _, _, terminated, truncated, _ = env.step(0)
                if terminated or truncated:
                    env.reset()
        server.wait_for(r'ended: it has had 0.5 s of processor time, as much as "erin" may')
        other.step(0)


def test_a_session_has_so_much_memory(guarded: tuple[ServerProcess, dict[str, str]]) -> None:
    """Its environment gets a MemoryError; one of another identity does not."""
    server, tokens = guarded
    with gymtwist.client.connect(server.port, "Fault/Hoard-v0", mebibytes=200, token=tokens["alice"]) as env:
        for _ in range(3):
            env.reset()
    with (
        gymtwist.client.connect(server.port, "Fault/Hoard-v0", mebibytes=200, token=tokens["frank"]) as env,
        pytest.raises(gymtwist.client.EnvironmentFailed, match="may hold 512 MiB"),
    ):
        for _ in range(3):
            env.reset()


def test_a_certificate_is_an_identity(known: Known) -> None:
    """Of an authority that the operator has named; with another one TLS fails, and without one a token is due."""
    server, clients, strangers = known.server, known.clients, trustme.CA()

    def connect(authority: trustme.CA | None, name: str = "Carol of Vision", token: str | None = None) -> None:
        context = ssl.create_default_context()
        known.servers.configure_trust(context)
        if authority is not None:
            authority.issue_cert(common_name=name).configure_cert(context)
        with gymtwist.client.connect(f"tls:127.0.0.1:{known.port}", "CartPole-v1", tls=context, token=token) as env:
            env.reset(seed=1)
            env.step(0)

    connect(clients)
    server.wait_for("CartPole-v1 for .* as carol")
    connect(None, token=known.token)
    server.wait_for("CartPole-v1 for .* as alice")
    connect(clients, "Somebody else", token=known.token)
    for authority, name in ((None, ""), (clients, "Somebody else")):
        with pytest.raises(gymtwist.client.RequestRefused, match="needs a token"):
            connect(authority, name)
    with pytest.raises(gymtwist.client.RemoteError):
        connect(strangers)
    server.wait_for("the TLS handshake failed")


def test_authorities_are_certificates(tmp_path: Path) -> None:
    """Anything else is refused at the start."""
    (tmp_path / "clients.pem").write_text("nothing")
    done = run_twistd("-n", "--pidfile=", "gymsock", "--client-ca", "clients.pem", directory=tmp_path)
    assert done.returncode == 1
    assert "not a PEM file of certificates" in " ".join(done.stdout.split())


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_request_has_so_many_bytes(guarded: tuple[ServerProcess, dict[str, str]], shared_memory: bool) -> None:
    """The client knows; one that does not care gets an error that names the limit."""
    server, tokens = guarded
    long = {"text": "x" * 70_000}
    with gymtwist.client.connect(server.port, "CartPole-v1", token=tokens["grace"], shared_memory=shared_memory) as env:
        env.reset(options={"text": "x" * 60_000})
        with pytest.raises(gymtwist.client.RemoteError, match="the server takes 65536 at most"):
            env.reset(options=long)
    with FramedClient(connected(("127.0.0.1", server.port)), INT32) as client:
        client.make("CartPole-v1", token=tokens["grace"])
        with pytest.raises(Failed, match=r"at most 65536 are allowed by the operator of the server \(max-frame\)"):
            client.reset(options=long)


def test_an_environment_does_not_find_the_token_of_its_client(guarded: tuple[ServerProcess, dict[str, str]]) -> None:
    """It is nowhere in the memory of the session, so that the code of an environment cannot use it."""
    server, tokens = guarded
    token = tokens["alice"]
    for protocol in ENCODINGS:
        with FramedClient(connected(("127.0.0.1", server.port)), protocol) as client:
            client.make("Search-v0", token=token)
            told = {"backwards": token[-24:][::-1]}
            assert client.reset(options=told)[1]["found"] == 0
            # What it is told the right way round it finds.
            assert client.reset(options={**told, "forwards": token[-24:]})[1]["found"] > 0

"""Sessions that outlive their connections: the connections are cut at random bytes, and nothing is lost or done twice.

All thousand cuts need the marker ``sweep``: ``python -m pytest tests/integration/test_resume.py -m sweep``.
"""

from __future__ import annotations

import asyncio
import contextlib
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest

import gymtwist.client as gymtwist
from gymtwist.client import aio
from tests.support.cutting_proxy import CuttingProxy
from tests.support.patience import LONG_DRAIN, PATIENCE
from tests.support.process_inspection import descriptors, eventually
from tests.support.server_process import ServerProcess, connected, write_certificate

CLIENT_MEASURED = True

#: Seconds that sessions wait; enough for a busy machine.
WAIT = 60
STEPS = 100


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with ports of all kinds."""
    directory = tmp_path_factory.mktemp("server")
    key, certificate = write_certificate(directory)
    secure = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    options = "--drain", LONG_DRAIN, "--listen", secure, "--listen", f"unix:{directory / 'socket'}"
    with ServerProcess(directory, *options) as running:
        running.wait_for(r"\(TLS\) starting on")
        connected(str(directory / "socket")).close()
        yield running


def upstream(server: ServerProcess, kind: str) -> tuple[str, int] | str:
    """Return where the server has a port of a kind."""
    if kind in ("tls", "wss"):
        return "127.0.0.1", int(server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    return str(server.directory / "socket") if kind == "unix" else ("127.0.0.1", server.port)


def arguments(server: ServerProcess, kind: str, port: int) -> dict[str, Any]:
    """Return how to connect through a proxy."""
    certificate = str(server.directory / "certificate.pem")
    found: dict[str, Any] = {"address": f"127.0.0.1:{port}", "timeout": PATIENCE, "shared_memory": kind == "memory"}
    if kind in ("ws", "wss"):
        found["address"] = f"{kind}://127.0.0.1:{port}"
    if kind in ("tls", "wss"):
        found["tls"] = certificate
    return found


Trajectory = list[tuple[Any, ...]]
#: Tells from the length of a trajectory whether it is long enough.
IsOver = Callable[[int], bool]


def steps(where: dict[str, Any], seed: int, is_over: IsOver, **options: Any) -> Trajectory:
    """Play single steps."""
    played: Trajectory = []
    with gymtwist.connect(env_id="CartPole-v1", **where, **options) as env:
        env.action_space.seed(seed)
        played.append((env.reset(seed=seed)[0],))
        while not is_over(len(played)):
            played.append(env.step(env.action_space.sample()))
            if played[-1][2] or played[-1][3]:
                played.append((env.reset()[0],))
    return played


def pipelined(where: dict[str, Any], seed: int, is_over: IsOver, **options: Any) -> Trajectory:
    """Play steps that are sent before the replies to earlier ones have come, and many in one request."""
    played: Trajectory = []
    with gymtwist.connect(env_id="Pendulum-v1", max_episode_steps=-1, **where, **options) as env:
        env.action_space.seed(seed)
        played.append((env.reset(seed=seed)[0],))
        while not is_over(len(played)):
            for _ in range(5):
                env.send(env.action_space.sample())
            played += [env.recv() for _ in range(5)]
            played.append(tuple(env.step_many([env.action_space.sample() for _ in range(5)])))
    return played


def vector(where: dict[str, Any], seed: int, is_over: IsOver, **options: Any) -> Trajectory:
    """Play environments of two processes, each with a connection of its own."""
    played: Trajectory = []
    with gymtwist.connect_vec(env_id="CartPole-v1", num_envs=4, processes=2, **where, **options) as envs:
        envs.action_space.seed(seed)
        played.append((envs.reset(seed=seed)[0].copy(),))
        while not is_over(len(played)):
            played.append(tuple(np.copy(each) for each in envs.step(envs.action_space.sample())[:4]))
    return played


def pictures(where: dict[str, Any], seed: int, is_over: IsOver, **options: Any) -> Trajectory:
    """Play steps with large observations, which arrive in many parts."""
    played: Trajectory = []
    with gymtwist.connect(env_id="ALE/Pong-v5", **where, **options) as env:
        env.action_space.seed(seed)
        played.append((env.reset(seed=seed)[0].copy(),))
        while not is_over(len(played)):
            observation, *rest = env.step(env.action_space.sample())
            played.append((observation.copy(), *rest[:3]))
            if rest[1]:
                played.append((env.reset()[0].copy(),))
    return played


def in_event_loop(where: dict[str, Any], seed: int, is_over: IsOver, **options: Any) -> Trajectory:
    """Play steps with the client for asyncio: single ones, and some that are on their way together."""

    async def play() -> Trajectory:
        played: Trajectory = []
        async with aio.connect(env_id="Pendulum-v1", max_episode_steps=-1, **where, **options) as env:
            env.action_space.seed(seed)
            played.append(((await env.reset(seed=seed))[0],))
            while not is_over(len(played)):
                for _ in range(3):
                    await env.send(env.action_space.sample())
                played += [await env.recv() for _ in range(3)]
                played += [await env.step(env.action_space.sample()) for _ in range(2)]
        return played

    return asyncio.run(play())


def vector_in_event_loop(where: dict[str, Any], seed: int, is_over: IsOver, **options: Any) -> Trajectory:
    """Play environments of two processes with the client for asyncio."""

    async def play() -> Trajectory:
        played: Trajectory = []
        async with aio.connect_vec(env_id="CartPole-v1", num_envs=4, processes=2, **where, **options) as envs:
            envs.action_space.seed(seed)
            played.append(((await envs.reset(seed=seed))[0].copy(),))
            while not is_over(len(played)):
                played.append(tuple(np.copy(each) for each in (await envs.step(envs.action_space.sample()))[:4]))
        return played

    return asyncio.run(play())


def assert_same(one: Trajectory, other: Trajectory) -> None:
    """Check that two trajectories are equal."""
    assert len(one) == len(other)
    for mine, its in zip(one, other, strict=True):
        for left, right in zip(mine, its, strict=True):
            np.testing.assert_equal(left, right)


@contextlib.contextmanager
def cutting(server: ServerProcess, kind: str, seed: int, mean: int, **options: Any) -> Iterator[CuttingProxy]:
    """Start a proxy for connections of a kind, which have so many bytes on average."""
    spared = 1_500  # a client whose make is cut has no secret yet
    if kind in ("tls", "wss"):  # to begin TLS takes some thousand bytes
        mean, spared = 2 * mean, 6_000
    # A client and a worker that poll shared memory send nothing else.
    seconds = 0.02 if kind == "memory" else None
    with CuttingProxy(upstream(server, kind), seed, mean, spared, seconds=seconds, **options) as proxy:
        yield proxy


def until(proxy: CuttingProxy, cuts: int, length: int = 0) -> IsOver:
    """Play until there were so many cuts, and at least so long; begin to cut, as there is a session now."""

    def is_over(played: int) -> bool:
        assert played < 1_000 * STEPS, f"only {proxy.cuts} cuts"
        proxy.cut_again()
        return proxy.cuts >= cuts and played >= length

    return is_over


def check(
    server: ServerProcess, play: Callable[..., Trajectory], kind: str, seed: int, mean: int, cuts: int, **options: Any
) -> None:
    """Play until there were so many cuts; compare with the same without."""
    length = 20 if play is pictures else STEPS
    first, of_server = (2 if play in (vector, vector_in_event_loop) else 1), play is pictures
    with cutting(server, kind, seed, mean, first=first, of_server=of_server) as proxy:
        where = arguments(server, kind, proxy.port)
        if play in (in_event_loop, vector_in_event_loop):
            del where["shared_memory"]
        played = play(where, seed, until(proxy, cuts, length), resume=WAIT, **options)
    direct = {"address": ("127.0.0.1", server.port), "timeout": PATIENCE}
    assert_same(played, play(direct, seed, lambda count: count >= len(played), **options))


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls", "ws", "wss", "memory"])
def test_steps_are_the_same_whatever_is_cut(server: ServerProcess, kind: str) -> None:
    """Every kind of connection: each step is done once, and its result arrives."""
    check(server, steps, kind, seed=7, mean=1_000, cuts=4)


@pytest.mark.parametrize("kind", ["tcp", "ws"])
def test_json(server: ServerProcess, kind: str) -> None:
    """The other framing."""
    check(server, steps, kind, seed=8, mean=1_800, cuts=4, protocol="netstring")


@pytest.mark.parametrize(
    ("play", "kind"), [(pipelined, "wss"), (pipelined, "memory"), (vector, "tcp"), (vector, "memory")]
)
def test_requests_on_their_way(server: ServerProcess, play: Callable[..., Trajectory], kind: str) -> None:
    """Requests that were sent together are each done once, in order."""
    check(server, play, kind, seed=9, mean=1_000, cuts=2)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_large_replies(server: ServerProcess, kind: str) -> None:
    """A reply is cut in its middle, and comes again whole."""
    check(server, pictures, kind, seed=10, mean=450_000, cuts=2)


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls", "ws", "wss"])
def test_steps_in_an_event_loop(server: ServerProcess, kind: str) -> None:
    """The client for asyncio goes on as the one that blocks does."""
    check(server, in_event_loop, kind, seed=11, mean=1_000, cuts=4)


def test_several_processes_in_an_event_loop(server: ServerProcess) -> None:
    """Each of the connections is cut for itself."""
    check(server, vector_in_event_loop, "tcp", seed=12, mean=1_000, cuts=2)


def play_until(where: dict[str, Any], seed: int, is_over: IsOver, **options: Any) -> Trajectory:
    """Play single steps, steps on their way and several in one request, until enough are played."""
    played: Trajectory = []
    with gymtwist.connect(env_id="CartPole-v1", **where, **options) as env:
        env.action_space.seed(seed)
        played.append((env.reset(seed=seed)[0],))
        while not is_over(len(played)):
            if len(played) % 3:
                played.append(env.step(env.action_space.sample()))
            else:
                for _ in range(3):
                    env.send(env.action_space.sample())
                for _ in range(3):
                    with contextlib.suppress(gymtwist.ResetNeeded):
                        played.append(env.recv())
            if len(played[-1]) > 1 and (played[-1][2] or played[-1][3]):
                played.append((env.reset()[0],))
    return played


async def play_in_event_loop_until(where: dict[str, Any], seed: int, is_over: IsOver, **options: Any) -> Trajectory:
    """Do the same with the client for asyncio."""
    played: Trajectory = []
    del where["shared_memory"]
    async with aio.connect(env_id="CartPole-v1", **where, **options) as env:
        env.action_space.seed(seed)
        played.append(((await env.reset(seed=seed))[0],))
        while not is_over(len(played)):
            if len(played) % 3:
                played.append(await env.step(env.action_space.sample()))
            else:
                for _ in range(3):
                    await env.send(env.action_space.sample())
                for _ in range(3):
                    with contextlib.suppress(gymtwist.ResetNeeded):
                        played.append(await env.recv())
            if len(played[-1]) > 1 and (played[-1][2] or played[-1][3]):
                played.append(((await env.reset())[0],))
    return played


def cut_often(server: ServerProcess, seed: int, cuts: int) -> int:
    """Play until a session has had so many cuts; compare with the same without. Return how many there were."""
    kind = ("tcp", "unix", "tls", "ws", "wss", "memory")[seed % 6]
    protocol = ("int32", "netstring")[seed // 6 % 2]
    # To begin TLS takes some thousand bytes.
    with cutting(server, kind, seed, 2_000 if kind in ("tls", "wss") else 400) as proxy:
        where, enough = arguments(server, kind, proxy.port), until(proxy, cuts)
        options: dict[str, Any] = {"protocol": protocol, "resume": WAIT}
        if seed % 5 == 4:
            played = asyncio.run(play_in_event_loop_until(where, seed, enough, **options))
        else:
            played = play_until(where, seed, enough, **options)
    direct = {"address": ("127.0.0.1", server.port), "timeout": PATIENCE}
    assert_same(played, play_until(direct, seed, lambda count: count >= len(played)))
    return proxy.cuts


@pytest.mark.parametrize(
    ("sessions", "cuts"), [(6, 5), pytest.param(20, 50, marks=pytest.mark.sweep)], ids=["some", "thousand"]
)
def test_many_cuts_in_many_sessions_at_once(server: ServerProcess, sessions: int, cuts: int) -> None:
    """Every trajectory is that without cuts, and nothing is left afterwards: no session, process or descriptor."""
    since, before = server.mark(), len(descriptors(server.process.pid))

    def running() -> set[int]:
        with urllib.request.urlopen(f"http://localhost:{server.port}/api/sessions", timeout=PATIENCE) as answer:
            return {each["number"] for each in msgspec.json.decode(answer.read())["sessions"]}

    others = running()  # of earlier tests, the last message of whose clients was lost
    with ThreadPoolExecutor(sessions) as pool:
        found = list(pool.map(partial(cut_often, server, cuts=cuts), range(sessions)))
    assert sum(found) >= sessions * cuts
    print(f"{sum(found)} cuts in {sessions} sessions")
    assert not [each for each in server.lines[since:] if "crashed" in each]
    # Nothing is left, long before the sessions would have waited for their clients in vain.
    eventually(lambda: running() <= others, WAIT / 2, "their end")
    eventually(lambda: len(descriptors(server.process.pid)) <= before, PATIENCE, "the descriptors from before")

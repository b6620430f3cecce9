"""The client of asyncio: what is cancelled, what goes wrong, and connections of all kinds."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from gymtwist.client import (
    Closed,
    ConnectionLost,
    EnvironmentFailed,
    InvalidAction,
    Progress,
    ProtocolBroken,
    RequestRefused,
    ResetNeeded,
    TimedOut,
    aio,
)
from tests.support.client_equivalence import SETUP, assert_same, local
from tests.support.event_loops import cancelled, place, run
from tests.support.patience import PATIENCE
from tests.support.scripted_server import Script, begun, made
from tests.support.server_process import ServerProcess, write_certificate

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)

READS_LOG = True

SEED = 77


# Cancellation


def test_after_a_step_that_was_cancelled(served: ServerProcess, protocol: Any) -> None:
    """The server takes it nevertheless; its reply, and that of every other request, is discarded."""
    ours = local("CartPole-v1")

    async def play() -> None:
        async with aio.connect(place(served), "CartPole-v1", protocol=protocol) as theirs:
            await cancelled(theirs.reset(seed=SEED))
            assert_same(await theirs.reset(seed=SEED), ours.reset(seed=SEED))
            await cancelled(theirs.step(1))
            await cancelled(theirs.step(0))
            ours.step(1)
            ours.step(0)
            assert_same(await theirs.step(1), ours.step(1))

    run(play())


def test_a_reply_that_was_sent_for_is_not_lost(served: ServerProcess, protocol: Any) -> None:
    """If the wait for it is cancelled, the next one gets it."""
    ours = local("CartPole-v1")

    async def play() -> None:
        async with aio.connect(place(served), "CartPole-v1", protocol=protocol) as theirs:
            ours.reset(seed=SEED)
            await theirs.reset(seed=SEED)
            for action in (1, 0):
                await theirs.send(action)
            await cancelled(theirs.recv())
            for action in (1, 0):
                assert_same(await theirs.recv(), ours.step(action))

    run(play())


def test_a_cancelled_connect_leaves_no_session(served: ServerProcess) -> None:
    """Whenever it is cancelled; here as it waits for the environment."""
    since = served.mark()

    async def use() -> None:
        def cancel(progress: Progress) -> None:
            assert progress.stage == "making"
            connecting.cancel()

        connecting = asyncio.ensure_future(_awaited(aio.connect(place(served), "Varied-v0", progress=cancel)))
        with pytest.raises(asyncio.CancelledError):
            await connecting

    run(use())
    served.wait_for("ended: .*Varied-v0", since=since)


async def _awaited(connecting: Any) -> Any:
    return await connecting


# What goes wrong


def test_errors_are_those_of_the_client_that_blocks(served: ServerProcess, protocol: Any) -> None:
    """And the environment goes on after each of them."""

    async def use() -> None:
        with pytest.raises(RequestRefused, match=r'did you mean "CartPole-v1"'):
            await aio.connect(place(served), "CartPole-v9", protocol=protocol)
        async with aio.connect(place(served), "Fault/RaiseInStep-v0", protocol=protocol) as theirs:
            with pytest.raises(ResetNeeded):
                await theirs.step(0)
            await theirs.reset()
            with pytest.raises(InvalidAction):
                await theirs.step(0.5)
            with pytest.raises(EnvironmentFailed, match="raised ValueError in step") as caught:
                await theirs.step(0)
            assert isinstance(caught.value, ValueError)
            await theirs.reset()
            with pytest.raises(RequestRefused, match="nothing was sent"):
                await theirs.recv()
            await theirs.send(0)
            for act in (theirs.step(0), theirs.reset()):
                with pytest.raises(RequestRefused, match="take them with recv"):
                    await act
        for act in (theirs.reset(), theirs.step(0), theirs.recv()):
            with pytest.raises(Closed, match="connect again"):
                await act

    run(use())
    for arguments in ({"address": "nowhere"}, {"timeout": 0}, {"protocol": "classic"}):
        with pytest.raises(ValueError, match="expected"):
            aio.connect(**{"address": 5001, "env_id": "CartPole-v1", **arguments})  # type: ignore[arg-type]


def test_two_coroutines_do_not_wait_for_one_environment(served: ServerProcess) -> None:
    """The second one is refused before anything is sent; one may send while the other receives."""

    async def use() -> None:
        async with aio.connect(place(served), "CartPole-v1") as theirs:
            await theirs.reset(seed=SEED)
            ours = local("CartPole-v1")
            ours.reset(seed=SEED)
            first = asyncio.ensure_future(theirs.step(1))
            await asyncio.sleep(0)
            acts: list[Any] = [theirs.step(1), theirs.recv(), theirs.step_many(1, 2), theirs.sample(), theirs.get("x")]
            for act in acts:
                with pytest.raises(RequestRefused, match="another coroutine waits"):
                    await act
            assert_same(await first, ours.step(1))
            await theirs.send(0)
            second = asyncio.ensure_future(theirs.recv())
            await asyncio.sleep(0)
            await theirs.send(1)
            assert_same([await second, await theirs.recv()], [ours.step(0), ours.step(1)])

    run(use())


def test_a_reply_that_does_not_come_in_time(served: ServerProcess) -> None:
    """It closes the connection, as it might still come."""

    async def use() -> None:
        async with aio.connect(place(served), "Fault/SlowStep-v0", timeout=1.0) as theirs:
            await theirs.reset()
            with pytest.raises(TimedOut, match="no answer from"):
                await theirs.step(0)
            with pytest.raises(TimedOut, match="connect again"):
                await theirs.reset()

    run(use())


def test_a_server_that_closes(scripted: Script) -> None:
    """It is missed by the request that waits, and by every later one."""

    async def use() -> None:
        async with aio.connect(("127.0.0.1", scripted(made(), begun()).port), "Scripted-v0") as theirs:
            await theirs.reset()
            for words in ("has ended: the server closed the connection", "connect again"):
                with pytest.raises(ConnectionLost, match=words):
                    await theirs.step(0)
        async with aio.connect(("127.0.0.1", scripted(made(), b"\x00\x00\x00\x00").port), "Scripted-v0") as theirs:
            with pytest.raises(ProtocolBroken, match="does not speak the protocol"):
                await theirs.reset()

    run(use())


def test_closing_wakes_a_coroutine_that_waits(served: ServerProcess) -> None:
    """With the error that every later use gets."""

    async def use() -> None:
        theirs = await aio.connect(place(served), "Fault/SlowStep-v0")
        await theirs.reset()
        step = asyncio.ensure_future(theirs.step(0))
        await asyncio.sleep(0)
        await theirs.close()
        await theirs.close()
        with pytest.raises(Closed):
            await step

    run(use())


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_environment_is_not_copied(served: ServerProcess, duplicate: Any) -> None:
    """A copy could only share the connection, and would close it when it is collected."""

    async def use() -> None:
        async with aio.connect(place(served), "CartPole-v1") as theirs:
            with pytest.raises(TypeError, match="cannot be copied or pickled: connect again"):
                duplicate(theirs)
            assert len((await theirs.reset())[0]) == 4

    run(use())


def test_a_forgotten_environment_is_closed(served: ServerProcess) -> None:
    """As soon as it is collected, while the event loop goes on."""
    since = served.mark()

    async def use() -> None:
        theirs = await aio.connect(place(served), "CartPole-v1")
        await theirs.reset()
        del theirs
        gc.collect()
        await asyncio.to_thread(served.wait_for, "ended: the client left; CartPole-v1", since=since)

    run(use())


def test_a_forked_process_does_not_use_its_parents_connection(served: ServerProcess) -> None:
    """The parent's episode goes on as if nothing had been tried."""
    ours = local("CartPole-v1")
    ours.reset(seed=SEED)

    async def use() -> None:
        async with aio.connect(place(served), "CartPole-v1") as theirs:
            await theirs.reset(seed=SEED)
            process = os.fork()
            if not process:
                try:
                    theirs.step(0).send(None)
                except ConnectionLost as error:
                    os._exit(7 if "forked" in str(error) else 8)
                finally:
                    os._exit(9)
            assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 7
            assert_same(await theirs.step(0), ours.step(0))

    run(use())


# Connections of all kinds


def test_a_late_server_with_one_session(tmp_path: Path) -> None:
    """It is waited for, at its UNIX socket; then for its session, over TLS; and both end when it is killed."""
    key, certificate = write_certificate(tmp_path)
    listen = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    path, stages = f"unix:{tmp_path / 'socket'}", list[str]()
    limits = ("--max-sessions", "1", "--queue", "2")

    async def until(stage: str) -> None:
        while stage not in stages:
            await asyncio.sleep(0.01)

    def tell(progress: Progress) -> None:
        stages.append(progress.stage)

    async def use() -> None:
        late = aio.connect(path, "CartPole-v1", connect_timeout=PATIENCE, timeout=PATIENCE, progress=tell)
        first = asyncio.ensure_future(_awaited(late))
        await until("connecting")
        with ServerProcess(tmp_path, "--listen", listen, *limits, port=path, setup=SETUP) as server:
            port = int(server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
            env = await first
            assert "making" in stages
            secret: Any = {"tls": certificate, "timeout": PATIENCE, "progress": tell}
            second = asyncio.ensure_future(_awaited(aio.connect(("127.0.0.1", port), "Observe/Frame-v0", **secret)))
            await until("queued")
            with pytest.raises(TimedOut, match=r"is full: no session was free within 1 s, at place 2"):
                await aio.connect(("127.0.0.1", port), "CartPole-v1", tls=certificate, timeout=1.0)
            await env.reset(seed=SEED)
            await env.close()
            env = await second
            assert (await env.reset())[0].shape == (210, 160, 3)
            with pytest.raises(ConnectionLost, match=r"no TLS with .*certificate"):
                await aio.connect(f"tls:127.0.0.1:{port}", "CartPole-v1")
            with pytest.raises(ProtocolBroken, match="with tls=True"):
                await aio.connect(("127.0.0.1", port), "CartPole-v1")
            step = asyncio.ensure_future(env.step(0))
            await asyncio.sleep(0)
            await step
            await env.send(0)
            server.process.kill()
            with pytest.raises(ConnectionLost, match="has ended"):
                for _ in range(10):
                    await env.send(0)
                    await env.recv()
                    await env.recv()
            server.process.wait(PATIENCE)

    run(use())


def test_a_server_that_is_not_there(served: ServerProcess) -> None:
    """The errors are those of the client that blocks."""

    async def use() -> None:
        for address, words in (
            ("127.0.0.1:1", "no connection to 127.0.0.1:1 within 0.01 s: .*Connection refused; is the server running"),
            ("nowhere.invalid:1", "is the name of the host right"),
            ("unix:nowhere.sock", "no connection to unix:nowhere"),
        ):
            with pytest.raises(ConnectionLost, match=words):
                limit = PATIENCE if "invalid" in address else 0.01
                await aio.connect(address, "CartPole-v1", connect_timeout=limit)
        with pytest.raises(ConnectionLost, match="it does not speak TLS: connect without tls"):
            await aio.connect(place(served), "CartPole-v1", tls=True)
        with pytest.raises(ValueError, match="tls is"):
            await aio.connect(place(served), "CartPole-v1", tls="nowhere.pem")
        async with aio.connect(("localhost", served.port), "CartPole-v1") as env:
            await env.reset()

    run(use())

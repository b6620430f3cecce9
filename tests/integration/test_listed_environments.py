"""The environments that a server lists, and the Python client."""

from __future__ import annotations

import gymnasium
import pytest

from gymtwist.client import ListedEnv, ProtocolBroken, RequestRefused, connect, envs
from gymtwist_conformance.reference_client import INT32, message
from tests.support.patience import PATIENCE
from tests.support.scripted_server import Script, error
from tests.support.server_process import ServerProcess

pytest_plugins = ("tests.support.client_fixtures",)


def test_a_client_lists_the_environments(served: ServerProcess, protocol: str) -> None:
    """With what the server knows of them; each can be made."""
    listed = envs(served.port, protocol=protocol, timeout=PATIENCE)  # type: ignore[arg-type]
    found = {each.id: each for each in listed}
    assert len(found) == len(listed)
    assert found["CartPole-v1"] == ListedEnv("CartPole-v1", "gymnasium", 500, 475.0)
    assert found["gym:CartPole-v1"].library == "gym"
    assert {id_ for id_ in found if found[id_].library == "gymnasium"} <= gymnasium.registry.keys()
    with connect(served.port, listed[0].id, timeout=PATIENCE) as env:
        env.reset()


def _page(*ids: str, more: bool = True) -> bytes:
    return message(INT32, "envs", envs=[{"id": each} for each in ids], more=more)


def test_a_list_comes_in_pages(scripted: Script) -> None:
    """However short they are."""
    server = scripted(_page("a-v0", "b-v0"), _page("c-v0"), _page(more=False))
    assert [each.id for each in envs(server.port)] == ["a-v0", "b-v0", "c-v0"]


@pytest.mark.parametrize(
    "pages", [[_page("a-v0"), _page("a-v0")], [_page("b-v0", "a-v0")], [_page()], [_page("b-v0"), _page("a-v0")]]
)
def test_a_list_that_does_not_go_on_is_refused(scripted: Script, pages: list[bytes]) -> None:
    """It might never end."""
    with pytest.raises(ProtocolBroken, match="its list of environments goes on with"):
        envs(scripted(*pages).port)


def test_a_server_may_have_no_list(scripted: Script) -> None:
    """An older one does not know the message."""
    with pytest.raises(RequestRefused) as caught:
        envs(scripted(error("request", "unknown-operation")).port)
    assert caught.value.code == "unknown-operation"


@pytest.mark.parametrize(
    "page",
    [
        _page("a" * 256),
        _page(*(f"{index:04}" for index in range(1001))),
        message(INT32, "envs", envs=[{"id": "a-v0", "library": "a" * 256}]),
        (17 << 20).to_bytes(4, "big"),
    ],
    ids=["id", "count", "library", "bytes"],
)
def test_a_list_has_limits(scripted: Script, page: bytes) -> None:
    """Those of the protocol; else it would fill the client's memory."""
    with pytest.raises(ProtocolBroken):
        envs(scripted(page).port)

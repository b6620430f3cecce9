"""What a node takes over of the front's options, and how many sessions it has room for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gymtwist.placement.node_server import options_of_node
from gymtwist.placement.ray_cluster import RayCluster
from gymtwist.server.server_options import Options, ServerOptions


def options(*words: str) -> dict[str, Any]:
    """Return the options of a front, as its nodes get them."""
    parsed = Options()
    parsed.parseOptions(list(words))
    found: dict[str, Any] = msgspec.to_builtins(parsed.server_options())
    return found


def test_a_node_has_limits_and_policies_of_the_front() -> None:
    """But ports of its own, and no options of who may connect to the front."""
    words = ("--place", "ray", "--step-timeout", "7", "--allow", "CartPole-*", "--port", "5001", "--listen", "5002")
    node = options_of_node(options(*words), "10.0.0.3")
    assert (node.step_timeout, node.allow, node.place) == (7.0, ("CartPole-*",), "local")
    assert node.endpoints == ("tcp:0:interface=10.0.0.3:backlog=1024",)
    assert node.no_http
    assert node.queue == 0


def test_an_address_of_ipv6_is_escaped() -> None:
    """In the description of the port."""
    assert options_of_node(options(), "fd00::3").port.startswith("tcp6:0:interface=fd00\\:\\:3")


def test_every_option_has_a_value_on_a_node() -> None:
    """Whatever options there will be."""
    assert isinstance(options_of_node(options(), "127.0.0.1"), ServerOptions)


@pytest.mark.parametrize(
    ("wanted", "room"),
    [
        ({"CPU": 1.0}, 16),
        ({"CPU": 0.1}, 160),
        ({"CPU": 3.0}, 5),
        ({"CPU": 1.0, "GPU": 0.5}, 4),
        ({"CPU": 1.0, "simulator": 1.0}, 0),
        ({"CPU": 0.0}, 1000),
    ],
)
def test_the_room_of_a_node_is_what_fits_into_each_resource(wanted: dict[str, float], room: int) -> None:
    """A resource that the node has not leaves none."""
    cluster = RayCluster(None, "", {}, wanted)
    said = {"node": "n", "host": "h", "port": 1, "control_port": 2, "secret": "s", "readiness": {}}
    assert cluster._info({**said, "resources": {"CPU": 16.0, "GPU": 2.0}}).room == room

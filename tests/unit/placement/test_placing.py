"""What a node takes over of the front's options."""

from __future__ import annotations

from typing import Any

import msgspec

from gymtwist.placement.node_server import options_of_node
from gymtwist.server.command_line import Options
from gymtwist.server.server_options import ServerOptions


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


def test_a_node_divides_rays_control_group_only_if_it_is_told_to() -> None:
    """What is delegated to Ray is for all its processes."""
    wanted = {"auto": "off", "off": "off", "on": "on"}
    assert {each: options_of_node(options("--cgroups", each), "10.0.0.3").cgroups for each in wanted} == wanted

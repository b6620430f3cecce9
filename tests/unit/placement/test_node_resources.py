"""What sessions take of nodes, which GPUs they have there, and why a node can never have one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.python import usage

from gymtwist.placement.node_resources import Demand, Demands, NodeResources
from gymtwist.server.command_line import Options


def demands(*words: str, **needs: Any) -> Demands:
    """Return what sessions take with some options."""
    parsed = Options()
    parsed.parseOptions([*words, "--session-needs", json.dumps(needs)])
    return Demands(parsed.server_options())


def usual(*words: str) -> Demand:
    """Return what sessions take with some options, whatever they are for."""
    return demands(*words).usual


@pytest.mark.parametrize(
    ("words", "room"),
    [
        ([], 16),
        (["--session-cpus", "0.1"], 160),
        (["--session-cpus", "0.01"], 1600),
        (["--session-cpus", "3"], 5),
        (["--session-gpus", "0.5"], 4),
        (["--session-gpus", "2"], 1),
        (["--session-gpus", "3"], 0),
        (["--session-resource", "simulator=1"], 0),
        (["--session-cpus", "0"], 1000),
    ],
)
def test_the_room_of_a_node_is_what_fits_into_each_resource(words: list[str], room: int) -> None:
    """A resource that the node has not leaves none; each session takes its part, and gives it back."""
    node, demand = NodeResources({"CPU": 16.0, "GPU": 2.0}), usual(*words)
    assert node.room(demand) == room
    taken = [node.take(demand) for _ in range(min(room, 20))]
    assert node.room(demand) == room - len(taken)
    for each in taken:
        node.give_back(each)
    assert node.room(demand) == room


def test_the_first_pattern_that_matches_says_what_a_session_takes() -> None:
    """What it does not say is as for all sessions."""
    needs = {"ALE/*": {"gpus": 0.5, "resources": {"simulator": 2}}, "*": {"labels": {"zone": "eu"}}}
    found = demands("--session-cpus", "0.25", "--session-resource", "disk=1", **needs)
    assert found.of("ALE/Pong-v5").bundle == {"CPU": 0.25, "GPU": 0.5, "disk": 1.0, "simulator": 2.0}
    assert found.of("ALE/Pong-v5").labels == ()
    for name in ("", "CartPole-v1"):
        assert found.of(name).bundle == {"CPU": 0.25, "disk": 1.0}
        assert found.of(name).labels == (("zone", "eu"),)


def test_sessions_of_different_kinds_share_a_node() -> None:
    """What one takes, no other has."""
    found = demands(**{"big-v0": {"cpus": 3}})
    node = NodeResources({"CPU": 4.0})
    big, small = found.of("big-v0"), found.of("small-v0")
    assert (node.room(big), node.room(small)) == (1, 4)
    node.take(small)
    node.take(big)
    assert (node.room(big), node.room(small)) == (0, 0)


def test_each_session_has_gpus_of_its_own() -> None:
    """Parts of one are taken where least is left; whole ones are not shared."""
    node = NodeResources({"CPU": 16.0, "GPU": 3.0}, gpus=["GPU-a", "GPU-b", "GPU-c"])
    half, whole, none = usual("--session-gpus", "0.5"), usual("--session-gpus", "2"), usual()
    first, second, both = node.take(half), node.take(half), node.take(whole)
    assert [node.gpus_of(each) for each in (first, second, both)] == ["GPU-a", "GPU-a", "GPU-b,GPU-c"]
    assert node.room(half) == 0
    assert node.gpus_of(node.take(none)) == ""
    node.give_back(first)
    assert (node.room(half), node.room(whole)) == (1, 0)
    node.give_back(both)
    assert (node.room(half), node.room(whole)) == (5, 1)


def test_gpus_are_numbered_if_they_have_no_names() -> None:
    """A node without any says nothing of them."""
    demand = usual("--session-gpus", "1")
    node = NodeResources({"CPU": 4.0, "GPU": 2.0})
    assert [node.gpus_of(node.take(demand)) for _ in range(2)] == ["0", "1"]
    assert NodeResources({"CPU": 4.0}).gpus_of(NodeResources({"CPU": 4.0}).take(usual())) is None


def test_resources_are_shown_by_name() -> None:
    """Ray tells them in any order."""
    assert list(NodeResources({"simulator": 1.0, "GPU": 2.0, "CPU": 4.0}).shares) == ["CPU", "GPU", "simulator"]


def test_what_ray_adds_to_the_resources_of_a_node_is_not_shown() -> None:
    """Nobody can give it to sessions."""
    rays_own = {"memory": 1e9, "object_store_memory": 1e9, "node:10.0.0.1": 1.0, "accelerator_type:A100": 1.0}
    node = NodeResources({"CPU": 4.0, "GPU": 1.0, "disk": 2.0, **rays_own})
    node.take(usual("--session-resource", "disk=0.5"))
    assert node.shares == {"CPU": (1.0, 4.0), "GPU": (0.0, 1.0), "disk": (0.5, 2.0)}


@pytest.mark.parametrize(
    ("condition", "zone", "holds"),
    [
        *(("eu", "eu", True), ("eu", "us", False), ("eu", None, False)),
        *(("!eu", "eu", False), ("!eu", "us", True), ("!eu", None, True)),
        *(("in(eu, us)", "us", True), ("in(eu,us)", "asia", False), ("!in(eu, us)", "us", False)),
        ("!in(eu, us)", "asia", True),
    ],
)
def test_labels_of_nodes_are_compared_as_ray_does(condition: str, zone: str | None, holds: bool) -> None:
    """Its four kinds of conditions."""
    demand = demands(**{"*": {"labels": {"zone": condition}}}).of("CartPole-v1")
    node = NodeResources({"CPU": 4.0}, {} if zone is None else {"zone": zone})
    assert node.room(demand) == (4 if holds else 0)
    assert bool(node.why_never(demand)) is not holds


def test_why_a_node_can_never_have_a_session() -> None:
    """The option, its value, and what the node has."""
    found = demands("--session-cpus", "8", **{"a": {"gpus": 2}, "b": {"cpus": 1, "labels": {"zone": "eu"}}})
    node = NodeResources({"CPU": 4.0, "GPU": 1.0}, {"zone": "us"})
    assert node.why_never(found.of("c")) == "--session-cpus is 8; the node has 4 CPU"
    assert (
        node.why_never(found.of("b"))
        == 'labels.zone of "b" in --session-needs is "eu"; the label zone of the node is us'
    )
    larger = NodeResources({"CPU": 8.0, "GPU": 1.0})
    assert larger.why_never(found.of("a")) == 'gpus of "a" in --session-needs is 2; the node has 1 GPU'
    larger.take(found.of("c"))
    assert not larger.why_never(found.of("c"))


def test_a_resource_and_a_label_may_have_one_name() -> None:
    """The error says which of them it is about."""
    demand = demands(**{"a": {"resources": {"zone": 2}, "labels": {"zone": "eu"}}}).of("a")
    near, far = NodeResources({"CPU": 4.0}, {"zone": "eu"}), NodeResources({"CPU": 4.0, "zone": 2.0})
    assert near.why_never(demand) == 'resources.zone of "a" in --session-needs is 2; the node has 0 zone'
    assert far.why_never(demand) == 'labels.zone of "a" in --session-needs is "eu"; the node has no label zone'


def test_nodes_are_of_one_kind_if_they_differ_in_nothing_that_sessions_need() -> None:
    """No two have exactly the same memory, and each has a name; the front remembers one node of each kind."""
    found = demands("--session-gpus", "1", **{"a": {"labels": {"zone": "eu"}, "resources": {"simulator": 1}}})
    own = [({"memory": 1e9 + number, f"node:10.0.0.{number}": 1.0}, {"rack": str(number)}) for number in range(2)]
    one, two = (NodeResources({"CPU": 4.0} | resources, labels) for resources, labels in own)
    assert found.kind(one) == found.kind(two)
    others = [
        NodeResources({"CPU": 4.0, "GPU": 1.0}),
        NodeResources({"CPU": 4.0, "simulator": 1.0}),
        NodeResources({"CPU": 4.0}, {"zone": "eu"}),
    ]
    assert len({found.kind(each) for each in (one, two, *others)}) == 4


@pytest.mark.parametrize(
    ("needs", "problem"),
    [
        ({"gpus": 1.5}, "`gpus` is 1.5: a session has a part of one GPU, up to 1, or a whole number of them"),
        ({"cpu": 1}, "there is no `cpu`; did you mean `cpus`?"),
        ({"cpus": -1}, "Expected `float` >= 0.0 - at `$.cpus`"),
        ({"cpus": float("nan")}, "at `$.cpus`"),
        ({"resources": {"GPU": 1}}, "`GPU` is not given as a resource: use `gpus`, or --session-gpus"),
        ({"labels": {"zone": "in()"}}, "`labels.zone` is 'in()': it must be a value such as eu, or !eu"),
        ({"labels": {"/": "eu"}}, "'/' cannot be the key of a label"),
        (3, "Expected `object`, got `int`"),
    ],
)
def test_needs_that_cannot_be_are_refused(needs: Any, problem: str) -> None:
    """The message names the pattern, the field and the value."""
    with pytest.raises(usage.UsageError, match=r'--session-needs .*: of "ALE/\*": ') as error:
        demands(**{"ALE/*": needs})
    assert problem in str(error.value)


def test_needs_are_a_table_in_a_configuration_file(tmp_path: Any) -> None:
    """By the patterns of ids; the command line overrides it."""
    file = tmp_path / "gymsock.toml"
    file.write_text('session-cpus = 0.5\n[session-needs."ALE/*"]\ngpus = 0.5\nlabels = {zone = "eu"}\n')
    parsed = Options()
    parsed.parseOptions(["--config", str(file)])
    demand = Demands(parsed.server_options()).of("ALE/Pong-v5")
    assert (demand.bundle, demand.labels) == ({"CPU": 0.5, "GPU": 0.5}, (("zone", "eu"),))
    parsed = Options()
    parsed.parseOptions(["--config", str(file), "--session-needs", "{}"])
    assert Demands(parsed.server_options()).of("ALE/Pong-v5").bundle == {"CPU": 0.5}
    file.write_text("session-needs = 3\n")
    with pytest.raises(usage.UsageError, match="`session-needs` must be a table"):
        Options().parseOptions(["--config", str(file)])

"""Attributes and methods of remote environments, as libraries reach for them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import OrderEnforcing

from gymtwist.client import AttributeUnreachable, EnvironmentFailed, RequestRefused, connect
from tests.support.client_equivalence import Remote, RemoteVec
from tests.support.scripted_server import Script, error, made

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)


def test_an_attribute_is_read_and_changed_in_every_way(remote: Remote, protocol: str) -> None:
    """By Gymnasium's methods, by plain access, through local wrappers, and before the first reset."""
    theirs = remote("Reachable-v0", protocol=protocol)
    wrapped: gymnasium.Env[Any, Any] = OrderEnforcing(theirs)
    base: Any = theirs.unwrapped
    assert (theirs.gravity, base.level, wrapped.get_wrapper_attr("level")) == (9.8, 1, 1)
    assert theirs._hidden == 3
    theirs.gravity = 20
    base.level = 2
    assert wrapped.set_wrapper_attr("_hidden", 5)
    assert [theirs.get_wrapper_attr(name) for name in ("gravity", "level", "_hidden")] == [20, 2, 5]
    assert theirs.has_wrapper_attr("gravity")
    assert theirs.has_wrapper_attr("step")
    assert not theirs.has_wrapper_attr("gravitas")
    assert theirs.get_wrapper_attr("spec") is theirs.spec
    theirs.reset()
    theirs.step(0)


def test_an_array_keeps_its_type(remote: Remote) -> None:
    """And is the user's own."""
    theirs = remote("Reachable-v0")
    goal = theirs.goal
    assert (goal.dtype, goal.tolist(), goal.flags.writeable) == (np.float32, [1, 2], True)
    theirs.goal = np.array([3, 4], np.float32)
    assert theirs.goal.tolist() == [3, 4]


def test_a_method_is_called(remote: Remote, protocol: str) -> None:
    """With arrays, keyword arguments and infos; a second call needs no other request."""
    theirs = remote("Reachable-v0", protocol=protocol)
    assert theirs.set_level(4) == 1
    assert theirs.get_wrapper_attr("set_level") is theirs.set_level
    assert np.asarray(theirs.action_masks()).tolist() == [True, False]
    if protocol == "int32":
        achieved, desired = np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32)
        reward = theirs.compute_reward(achieved, desired, [{}, {}, {}])
        assert (reward.dtype, reward.tolist()) == (np.float32, [-2, -2, -2])
    theirs.reset()
    with pytest.raises(EnvironmentFailed, match="no such level") as caught:
        theirs.set_level(level=-1)
    assert not caught.value.reset_needed
    theirs.step(0)


@pytest.mark.parametrize("name", ["gravitas", "ale", "_other", "a.b", "_repr_html_"])
def test_what_cannot_be_reached_is_an_attribute_error(remote: Remote, name: str) -> None:
    """It says that the attribute is remote; no write is without effect."""
    theirs = remote("Reachable-v0")
    for read in (lambda: getattr(theirs, name), lambda: theirs.get_wrapper_attr(name)):
        with pytest.raises(AttributeUnreachable, match=r"remote|dots"):
            read()
    assert not hasattr(theirs, name)
    with pytest.raises(AttributeError, match=r"remote|dots"):
        setattr(theirs, name, 1)
    assert getattr(theirs, name, "default") == "default"


def test_an_object_names_the_methods_that_can_be_called(remote: Remote) -> None:
    """Its text can be read by an operator's leave alone."""
    theirs = remote("Reachable-v0")
    base: Any = theirs.unwrapped
    with pytest.raises(AttributeUnreachable, match=r"builtins\.object.*action_masks.*set_level"):
        _ = base.ale
    with pytest.raises(AttributeUnreachable, match=r"builtins\.object"):
        theirs.get_wrapper_attr("ale", as_text=True)
    assert theirs.get_wrapper_attr("gravity", as_text=True) == "9.8"


def test_an_attribute_that_does_not_exist_can_be_tried(remote: Remote) -> None:
    """As Gymnasium's wrappers do it; what is refused is an error in any case."""
    theirs = remote("Reachable-v0")
    assert not theirs.set_wrapper_attr("mine", 1, force=False)
    wrapped: gymnasium.Env[Any, Any] = OrderEnforcing(theirs)
    assert wrapped.set_wrapper_attr("mine", 1)
    assert wrapped.get_wrapper_attr("mine") == 1
    with pytest.raises(AttributeUnreachable, match="underscore"):
        wrapped.set_wrapper_attr("_other", 1)


def test_what_the_client_has_is_its_own(remote: Remote) -> None:
    """No request is made for it."""
    theirs = remote("Reachable-v0")
    space = gymnasium.spaces.Discrete(2)
    theirs.action_space = space
    assert theirs.action_space is space
    theirs.metadata = {"mine": 1}
    assert theirs.metadata == {"mine": 1}


def test_an_attribute_while_a_step_is_under_way(remote: Remote) -> None:
    """Whether there is one is not known; nothing says that there is none."""
    theirs = remote("Reachable-v0")
    masks = theirs.action_masks
    theirs.reset()
    theirs.send(0)
    for ask in (lambda: hasattr(theirs, "level"), lambda: theirs.level, lambda: theirs.has_wrapper_attr("level")):
        with pytest.raises(RequestRefused, match="take them with recv"):
            ask()
    assert theirs.action_masks is masks
    theirs.recv()
    assert hasattr(theirs, "level")
    assert not hasattr(theirs, "levels")


def test_an_attribute_of_a_closed_environment(remote: Remote) -> None:
    """Is an AttributeError."""
    theirs = remote("Reachable-v0")
    theirs.close()
    with pytest.raises(AttributeError, match="closed"):
        _ = theirs.gravity


def test_a_server_without_attributes(scripted: Script) -> None:
    """The error says that the server is older."""
    running = scripted(made(), error("request", "unknown-operation"))
    theirs = connect(("127.0.0.1", running.port), "x")
    with pytest.raises(AttributeUnreachable, match="older"):
        _ = theirs.gravity
    theirs.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("processes", [1, 2])
def test_each_of_several(remote_vec: RemoteVec, processes: int, mode: Any, protocol: str) -> None:
    """Has its own, however many processes they share; results are tuples."""
    envs = remote_vec("Reachable-v0", 3, processes=processes, vectorization_mode=mode, protocol=protocol)
    envs.reset()
    assert envs.get_attr("level") == (1, 1, 1)
    assert envs.call("level", "ignored") == (1, 1, 1)
    envs.set_attr("level", [5, 6, 7])
    assert envs.call("set_level", 9) == (5, 6, 7)
    envs.set_attr("gravity", 20)
    assert envs.get_attr("gravity") == (20, 20, 20)
    masks = envs.get_attr("action_masks")
    assert np.asarray(masks).tolist() == [[True, False]] * 3
    assert envs.get_attr("render_mode") == (None,) * 3
    assert envs.call("action_space") == (envs.single_action_space,) * 3
    assert envs.get_attr("render") == (None,) * 3
    with pytest.raises(ValueError, match="3, not of 2"):
        envs.set_attr("level", [1, 2])
    with pytest.raises(AttributeUnreachable, match=r"environment 0: .*reset"):
        envs.call("reset")
    with pytest.raises(EnvironmentFailed, match="no such level") as caught:
        envs.call("set_level", -1)
    assert caught.value.environments == (0,)
    envs.step(envs.action_space.sample())


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_errors_name_the_environment_among_all(remote_vec: RemoteVec, mode: Any) -> None:
    """A value that is refused in the second process leaves those of its environments as they were."""
    envs = remote_vec("Reachable-v0", 4, processes=2, vectorization_mode=mode)
    with pytest.raises(AttributeUnreachable, match="environment 3: ") as caught:
        envs.set_attr("level", [1, 2, 3, "x"])
    assert caught.value.environments == (3,)
    assert envs.get_attr("level")[2:] == (1, 1)


def test_several_without_objects(remote_vec: RemoteVec) -> None:
    """The error names the mode that has them."""
    envs = remote_vec("CartPole-v1", 2, vectorization_mode="vector_entry_point")
    with pytest.raises(AttributeUnreachable, match='"sync"') as caught:
        envs.get_attr("gravity")
    assert caught.value.code == "attribute-refused"


def test_atari_says_what_its_actions_mean(remote: Remote) -> None:
    """And names the methods that can be called in place of its emulator."""
    pytest.importorskip("ale_py")
    base: Any = remote("ALE/Pong-v5").unwrapped
    assert base.get_action_meanings()[:2] == ["NOOP", "FIRE"]
    with pytest.raises(AttributeUnreachable, match=r"ALEInterface, .*can carry it; .*get_action_meanings"):
        _ = base.ale

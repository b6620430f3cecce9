"""Which keyword arguments clients may give environments, and which wrappers they may put around them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gymtwist.errors import KwargRefused, WrapperRefused
from gymtwist.protocol.make_messages import Wrapper
from gymtwist.worker.access_policy import KwargPolicy, WrapperPolicy
from gymtwist.worker.worker_settings import ALL, GYMNASIUM, NONE, PLAIN

PLAIN_KWARGS: dict[str, Any] = {
    "frameskip": 4,
    "repeat_action_probability": 0.25,
    "full_action_space": True,
    "map_name": "8x8",
    "nothing": None,
    "size": [3, [4, 5]],
    "nested": {"a": {"b": "c.d"}},
    "array": np.zeros(3),
}
#: What could be the path of a file.
PATHS = [
    "/etc/passwd",
    "a/b",
    "..",
    ".hidden",
    "~",
    "~root",
    "C:\\x",
    "nul\0",
    "x" * 256,
    b"bytes",
    ["ok", "a/b"],
    {"a": ["/"]},
    {"/": 1},
]


def test_plain_values_are_allowed() -> None:
    """Numbers, flags, short strings, and what is made of them; also in the place of what was registered."""
    KwargPolicy().check(PLAIN_KWARGS, {"frameskip": 1, "map_name": "4x4"})
    KwargPolicy(PLAIN, restricted=True).check(PLAIN_KWARGS, {"frameskip": 1})


@pytest.mark.parametrize("value", PATHS, ids=repr)
def test_what_could_be_a_path_is_refused(value: Any) -> None:
    """With the way to allow it; an operator can allow it by name, or all."""
    with pytest.raises(KwargRefused, match=r'kwarg "xml_file" has .* could be a path; .* --kwargs xml_file'):
        KwargPolicy().check({"xml_file": value}, {})
    KwargPolicy("frameskip,xml_file").check({"xml_file": value}, {})
    KwargPolicy(ALL).check({"xml_file": value}, {})


@pytest.mark.parametrize("value", [1001, 10**9, [2, 5000], 1e6, np.array(10**9), np.array([[2, 5000]])])
def test_what_multiplies_the_time_of_a_step_is_limited(value: Any) -> None:
    """Unless the operator allows it by name."""
    with pytest.raises(KwargRefused, match='kwarg "frameskip" multiplies the time of a step; send 1000 at most'):
        KwargPolicy().check({"frameskip": value}, {})
    KwargPolicy("frameskip").check({"frameskip": value}, {})
    KwargPolicy().check({"frameskip": [2, 1000]}, {})


@pytest.mark.parametrize("rule", [PLAIN, NONE])
def test_a_long_name_is_cut(rule: str) -> None:
    """So that the error is still read."""
    with pytest.raises(KwargRefused) as caught:
        KwargPolicy(rule).check({"x" * 60_000: "/"}, {})
    assert len(str(caught.value)) < 400


def test_another_environment_by_a_keyword_argument() -> None:
    """Is not to be had where only some are allowed."""
    with pytest.raises(KwargRefused, match=r"kwarg \"game\" is \"pong\" in this environment; another value could make"):
        KwargPolicy(restricted=True).check({"game": "breakout"}, {"game": "pong"})
    KwargPolicy().check({"game": "breakout"}, {"game": "pong"})
    KwargPolicy("game", restricted=True).check({"game": "breakout"}, {"game": "pong"})


def test_names_allow_no_others() -> None:
    """However plain they are."""
    with pytest.raises(KwargRefused, match='kwarg "b" is not allowed on this server; it allows: a, c'):
        KwargPolicy("c,a").check({"a": 1, "b": 1}, {})
    with pytest.raises(KwargRefused, match="it allows: none"):
        KwargPolicy(NONE).check({"a": 1}, {})
    KwargPolicy(NONE).check({}, {"a": 1})


@pytest.mark.parametrize("name", ["TimeLimit", "gymnasium.wrappers:TimeLimit"])
@pytest.mark.parametrize("rule", [GYMNASIUM, "TimeLimit", "gymnasium.wrappers:TimeLimit", "x:Y,gymnasium"])
def test_a_wrapper_that_is_allowed(rule: str, name: str) -> None:
    """By its name alone, by the module's too, or among all that are Gymnasium's."""
    WrapperPolicy(rule).check([Wrapper(name, {"max_episode_steps": 10**6})])


@pytest.mark.parametrize(
    ("rule", "name", "remedy"),
    [
        (GYMNASIUM, "RecordVideo", "--wrappers gymnasium,gymnasium.wrappers:RecordVideo; the server allows AddRender"),
        (GYMNASIUM, "TransformObservation", "--wrappers gymnasium,gymnasium.wrappers:TransformObservation"),
        (GYMNASIUM, "Autoreset", "--wrappers gymnasium,gymnasium.wrappers:Autoreset"),
        (GYMNASIUM, "os:system", "--wrappers gymnasium,os:system"),
        (NONE, "TimeLimit", "--wrappers TimeLimit; the server allows none"),
        ("mine:Wrapper", "TimeLimit", "--wrappers mine:Wrapper,TimeLimit; the server allows mine:Wrapper"),
        ("mine:Wrapper", "gymnasium", "--wrappers mine:Wrapper,gymnasium.wrappers:gymnasium"),
    ],
)
def test_a_wrapper_that_is_not_allowed(rule: str, name: str, remedy: str) -> None:
    """The error names it and its place, and the remedies."""
    with pytest.raises(WrapperRefused) as caught:
        WrapperPolicy(rule).check([Wrapper("TimeLimit")] * (rule == GYMNASIUM) + [Wrapper(name)])
    assert f'wrappers[{int(rule == GYMNASIUM)}] "{name}" is not allowed on this server' in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.parametrize("value", PATHS, ids=repr)
def test_no_path_for_a_wrapper(value: Any) -> None:
    """Not even for one that the operator names."""
    with pytest.raises(WrapperRefused, match=r'wrappers\[0\] "a:B": kwarg "x" has .* could be a path'):
        WrapperPolicy("a:B").check([Wrapper("a:B", {"x": value})])


@pytest.mark.parametrize("name", ["frame_skip", "skip", "num_repeats", "noop_max", "stack_size"])
def test_what_multiplies_the_time_of_a_step_in_wrappers_is_limited(name: str) -> None:
    """Each by itself."""
    WrapperPolicy("a:B").check([Wrapper("a:B", {name: 1000})])
    with pytest.raises(WrapperRefused, match=rf'kwarg "{name}" multiplies the time of a step; send 1000 at most'):
        WrapperPolicy("a:B").check([Wrapper("a:B", {name: 1001})])


@pytest.mark.parametrize("name", ["ClipReward", "gymnasium.wrappers.vector:ClipReward", "a:B"])
def test_a_vector_wrapper_that_is_allowed(name: str) -> None:
    """By the same names as wrappers of single environments."""
    rules = ["a:B"] if name == "a:B" else [GYMNASIUM, "ClipReward", "gymnasium.wrappers.vector:ClipReward"]
    for rule in rules:
        WrapperPolicy(rule).check([Wrapper(name)], "vector_wrappers")


@pytest.mark.parametrize(
    ("rule", "name", "remedy"),
    [
        (GYMNASIUM, "TimeLimit", "gymnasium,gymnasium.wrappers.vector:TimeLimit; the server allows ClipAction"),
        ("gymnasium.wrappers:RecordVideo", "RecordVideo", "gymnasium.wrappers.vector:RecordVideo"),
        ("RecordVideo", "RecordVideo", "gymnasium.wrappers.vector:RecordVideo"),
        ("gymnasium.wrappers:ClipReward", "ClipReward", "the server allows none"),
        ("TimeLimit", "ClipReward", "--wrappers TimeLimit,ClipReward; the server allows none"),
        (NONE, "ClipReward", "--wrappers ClipReward; the server allows none"),
    ],
)
def test_a_vector_wrapper_that_is_not_allowed(rule: str, name: str, remedy: str) -> None:
    """That one of its name is allowed around single environments does not count, unless both are safe."""
    with pytest.raises(WrapperRefused) as caught:
        WrapperPolicy(rule).check([Wrapper(name)], "vector_wrappers")
    assert f'vector_wrappers[0] "{name}" is not allowed' in str(caught.value) and remedy in str(caught.value)


@pytest.mark.parametrize(
    ("field", "name", "other"),
    [
        ("wrappers", "gymnasium.wrappers.vector:ClipReward", "vector_wrappers"),
        ("vector_wrappers", "gymnasium.wrappers:ClipReward", "wrappers"),
    ],
)
def test_a_wrapper_of_the_other_kind(field: str, name: str, other: str) -> None:
    """Wherever the operator lists it, the error says where to send it."""
    with pytest.raises(WrapperRefused, match=f'{name}" is not for `{field}`: send it in `{other}`'):
        WrapperPolicy(f"{GYMNASIUM},{name}").check([Wrapper(name)], field)

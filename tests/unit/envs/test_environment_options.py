"""Keyword arguments from clients whose numbers are all floats."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from gymtwist.envs.environment_options import EnvironmentOptions, with_integers


class Made:
    """Takes keyword arguments of many kinds."""

    def __init__(  # type: ignore[no-untyped-def]
        self,
        by_default=3,
        flag=True,
        number: int = 0,
        perhaps: Optional[int] = None,  # noqa: UP045
        pair: int | tuple[int, int] = 4,
        either: int | float = 0,
        real: float = 1,
    ) -> None: ...


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("by_default", 5.0, 5),
        ("number", -4.0, -4),
        ("perhaps", 2.0**53, 2**53),
        ("pair", 4.0, 4),
        ("number", 4.5, 4.5),
        ("number", 1e300, 1e300),
        ("flag", 1.0, 1.0),
        ("either", 4.0, 4.0),
        ("real", 4.0, 4.0),
        ("unknown", 4.0, 4.0),
    ],
)
def test_a_whole_number_for_an_integer(name: str, given: float, expected: Any) -> None:
    """Is the integer if the constructor takes one there and no float; any other float stays one."""
    (kwarg,) = with_integers(EnvironmentOptions(kwargs={name: given}), Made).kwargs.values()
    assert (type(kwarg), kwarg) == (type(expected), expected)


def test_a_constructor_without_a_signature() -> None:
    """Nothing is known of its parameters."""
    options = EnvironmentOptions(kwargs={"number": 4.0})
    assert with_integers(options, None) == with_integers(options, dict) == options

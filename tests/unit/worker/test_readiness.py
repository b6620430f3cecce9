"""The message of a process that has imported everything."""

from __future__ import annotations

from gymtwist.worker.readiness import LibrarySummary, Readiness


def test_a_library_is_summarized_by_an_example_that_everybody_knows() -> None:
    """Or else by its first id."""
    readiness = Readiness.summarize({"a": ["Odd-v0", "CartPole-v1"], "b": ["Mine-v0", "Mine-v1"]}, ["jax"])
    assert readiness.libraries == (LibrarySummary("a", 2, "CartPole-v1"), LibrarySummary("b", 2, "Mine-v0"))
    assert readiness.missing == ("jax",)


def test_it_is_one_line() -> None:
    """Even if an id has a line break."""
    readiness = Readiness.summarize({"a": ["two\nlines"]}, [])
    line = readiness.to_line()
    assert line.count(b"\n") == 1
    assert Readiness.from_line(line) == readiness

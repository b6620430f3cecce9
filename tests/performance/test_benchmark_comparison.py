"""The comparison with peers is fair in its order, right in its arithmetic, and honest about what is missing."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pages
import pytest
from compare.contender import HERE, Contender, Run, Series
from compare.contenders.floor_player import STEP_SIZES
from compare.peers import CONTENDERS
from compare.processes import Failed, Place, Serving, play, words_for
from compare.report import (
    Document,
    median,
    participants,
    ratio,
    ratio_text,
    verdict,
    workload_table,
    write,
)
from compare.run import Effort, measure, parser, plan, prepare, turns
from compare.side_by_side import sides
from compare.side_by_side import write as write_ratios
from compare.targets import TARGETS, Target
from compare.venvs import CannotInstall, build, directory_name, interpreter, packages
from compare.workloads import WORKLOADS

from tests.support.server_process import REPOSITORY

PAGE = REPOSITORY / "docs" / "reference" / "benchmarks.md"
GUIDE = REPOSITORY / "docs" / "how-to" / "run-benchmarks.md"


def contender(name: str, kind: str = "network", **settings: Any) -> Contender:
    """Makes a contender that plays CartPole."""
    made = Contender(name, name.upper(), (), "contenders/floor_player.py", ("cartpole",), kind=kind)
    return replace(made, **settings)


def document(**rates: list[float]) -> Document:
    """Makes what came out of one-second rounds of CartPole; an underscore in a name stands for a hyphen."""
    runs = [
        Run(name.replace("_", "-"), "cartpole", 1, number, int(rate), 1.0)
        for name, found in rates.items()
        for number, rate in enumerate(found)
    ]
    return Document("A machine.", 0.5, {"rounds": 3, "seconds": 1.0, "clients": [1]}, {}, runs)


def by_name(name: str) -> Contender:
    """Finds a contender."""
    (found,) = (each for each in CONTENDERS if each.name == name)
    return found


# The order


def test_contenders_take_turns() -> None:
    """A B C A B C: what slows the machine down for a while slows all of them down."""
    order = [(number, each.name) for number, each in turns([contender("a"), contender("b"), contender("c")], 2)]
    assert order == [(0, "a"), (0, "b"), (0, "c"), (1, "a"), (1, "b"), (1, "c")]


def test_only_cartpole_is_played_by_several_clients() -> None:
    """And only by contenders for whom that makes sense."""
    one = contender("one", workloads=("cartpole", "pong"))
    many = contender("many", clients=(1, 4), workloads=("cartpole", "pong"))
    planned = plan([one, many], ["cartpole", "pong"], [1, 4])
    assert [(each.workload, each.clients, [who.name for who in each.contenders]) for each in planned] == [
        ("cartpole", 1, ["one", "many"]),
        ("cartpole", 4, ["many"]),
        ("pong", 1, ["one", "many"]),
    ]


def test_what_nobody_can_play_is_left_out() -> None:
    """A table of nobody says nothing."""
    assert plan([contender("a")], ["pong"], [1]) == []


# The arithmetic


def test_the_median_of_an_even_number_lies_between_two() -> None:
    """As everybody else has it."""
    assert median({0: 1.0, 1: 9.0, 2: 3.0, 3: 5.0}) == 4.0


def test_nothing_has_no_median() -> None:
    """A contender that failed in all rounds has no rate, not a rate of 0."""
    assert median({}) is None


def test_rates_are_divided_round_by_round() -> None:
    """A round in which the machine was slow for both does not change their ratio."""
    assert ratio({0: 200.0, 1: 20.0, 2: 240.0}, {0: 100.0, 1: 10.0, 2: 80.0}) == 2.0


def test_a_round_in_which_one_failed_is_not_divided() -> None:
    """The others are."""
    assert ratio({0: 200.0, 2: 300.0}, {0: 100.0, 1: 10.0}) == 2.0


def test_rounds_that_do_not_meet_have_no_ratio() -> None:
    """It is not 0."""
    assert ratio({0: 200.0}, {1: 10.0}) is None


@pytest.mark.parametrize(("value", "text"), [(25.2, "25"), (2.44, "2.4"), (0.456, "0.46"), (None, "-")])
def test_a_ratio_has_the_digits_that_mean_something(value: float | None, text: str) -> None:
    """Three digits of a quotient of two noisy numbers would be a lie."""
    assert ratio_text(value) == text


# What is written


def test_the_fastest_is_at_the_top_and_we_are_bold() -> None:
    """Each line has the median, the range, and both ratios."""
    everybody = [contender("here", "limit"), contender("gymtwist", "gymtwist"), contender("peer")]
    text = workload_table(
        document(peer=[10.0, 20.0, 30.0], gymtwist=[50.0, 100.0, 90.0], here=[200.0, 400.0, 360.0]),
        everybody,
        "cartpole",
    )
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert cells[2:] == [
        ["HERE", "360", "200 to 400", "1.00", "0.25"],
        ["**GYMTWIST**", "90.0", "50.0 to 100", "0.25", "-"],
        ["PEER", "20.0", "10.0 to 30.0", "0.05", "5.0"],
    ]


def test_every_line_of_a_table_is_as_long() -> None:
    """It can be read without being rendered."""
    lines = pages.table([("", "a"), ("a longer name", "1"), ("x", "1,000,000")], numbers=True).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_a_target_is_met_or_missed() -> None:
    """By the median of the ratios."""
    found = document(gymtwist=[250.0, 100.0, 300.0], peer=[100.0, 100.0, 100.0])
    target = Target("t", "cartpole", "gymtwist", ("peer",), 2.5)
    assert verdict(found, target, []) == ("t", "2.5", "2.5 at least", "met")
    assert verdict(found, replace(target, least=2.6), []) == ("t", "2.5", "2.6 at least", "missed")


def test_who_is_ahead_is_ahead_of_the_fastest_peer() -> None:
    """Not of one of them; and to be as fast is not to be ahead."""
    found = document(gymtwist=[100.0], slow=[10.0], fast=[100.0], limit=[900.0])
    peers = [contender("slow"), contender("fast"), contender("limit", "limit")]
    target = Target("t", "cartpole", "gymtwist", (), ahead=True)
    assert verdict(found, target, peers) == ("t", "1.00", "ahead", "missed")


def test_a_target_without_the_peer_is_neither() -> None:
    """Where a peer could not be installed, there is no line for it."""
    assert verdict(document(gymtwist=[1.0]), Target("t", "cartpole", "gymtwist", ("peer",)), []) is None


def test_a_failure_is_named() -> None:
    """With its reason, and it has no rate."""
    found = document(gymtwist=[1.0])
    found.runs.append(Run("peer", "cartpole", 1, 0, error="no such thing"))
    assert found.rates("peer", "cartpole") == {}
    assert "- PEER, cartpole, 1 at once: no such thing" in write(found, [contender("peer")])


def test_who_took_part_is_listed_with_versions() -> None:
    """What was asked for comes first, and who did not play is not there."""
    found = document(peer=[1.0])
    found.packages = {"peer": {"numpy": "2", "peer-rpc": "1", "something": "3"}}
    peers = [contender("peer", requirements=("peer_rpc>=1",), note="It is one."), contender("absent")]
    assert participants(found, peers) == "- **PEER**: It is one. (peer-rpc 1, numpy 2)"


def test_what_was_written_as_json_is_read_again() -> None:
    """Plots are drawn from the file."""
    found = document(gymtwist=[1.0, 2.0])
    assert Document.read(json.loads(json.dumps(asdict(found)))) == found


def test_the_result_goes_between_the_comments_of_a_page(tmp_path: Path) -> None:
    """What was there before is replaced, and nothing else."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- compared: begin -->\nold\n<!-- compared: end -->\nafter\n")
    pages.replace(page, "compared", "new")
    assert page.read_text() == "before\n<!-- compared: begin -->\n\nnew\n\n<!-- compared: end -->\nafter\n"


def test_a_page_without_a_place_is_refused(tmp_path: Path) -> None:
    """Rather than left as it is."""
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="compared: begin"):
        pages.replace(page, "compared", "new")


def test_two_trees_are_compared_row_by_row() -> None:
    """The ratio is the median of those of the rounds, and a row that is too slow is marked."""
    ((now, before),) = sides(["gymtwist"])
    runs = [
        Run(who.name, "cartpole", 1, number, steps, 1.0)
        for who, rates in ((now, (90, 96, 200)), (before, (100, 100, 100)))
        for number, steps in enumerate(rates)
    ]
    text = write_ratios(Document("", 0.0, {}, {}, runs), [Series("cartpole", 1, (now, before))])
    cells = [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")]
    assert cells == [
        "gymtwist: CartPole, whose pole is kept up",
        "100",
        "96.0",
        "0.960",
        "0.900 to 2.000",
        "below 0.97",
    ]


# The contenders


@pytest.mark.parametrize("each", CONTENDERS, ids=lambda each: each.name)
def test_a_contender_can_be_run(each: Contender) -> None:
    """It is said what it is, its program is there, and everything that it refers to is known."""
    assert each.note.endswith(".")
    assert (HERE / each.program).is_file()
    assert set(each.workloads) <= WORKLOADS.keys()
    words = words_for(each, Place(Path("bin/python")), "cartpole", 1)
    for text in (*(each.server or ()), each.address, *(value for _, value in each.variables)):
        assert "{" not in text.format(**words)


@pytest.mark.parametrize("each", CONTENDERS, ids=lambda each: each.name)
def test_a_program_is_not_called_like_a_library(each: Contender) -> None:
    """Its own directory is the first in which it looks for what it imports."""
    wanted = {re.split(r"[^\w-]", word)[0].replace("-", "_") for word in each.requirements}
    assert Path(each.program).stem not in wanted | sys.stdlib_module_names


def test_the_names_of_contenders_differ() -> None:
    """The JSON tells them apart by these."""
    names = [each.name for each in CONTENDERS]
    assert len(set(names)) == len(names)


def test_targets_are_about_contenders() -> None:
    """And about what those play."""
    for target in TARGETS:
        for name in (target.contender, *target.against):
            assert target.workload in by_name(name).workloads


def test_the_floor_has_as_many_bytes_for_each_workload() -> None:
    """That it can play."""
    assert {*by_name("floor").workloads, *by_name("floor-polling").workloads} <= STEP_SIZES.keys()


def test_a_peer_without_a_checkout_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said what to do."""
    peer = contender("peer", checkout="someone/some-peer")
    assert prepare([peer], tmp_path, {"some-peer": tmp_path / "absent"}) == {}
    assert "--checkout some-peer=PATH" in capsys.readouterr().err


def test_a_virtual_environment_is_made_once(tmp_path: Path) -> None:
    """Who needs the same shares it."""
    told: list[str] = []
    first = build(contender("a"), tmp_path, told.append)
    assert build(contender("b"), tmp_path, told.append) == first
    assert len(told) == 1
    assert packages(first) == {}


def test_other_requirements_are_another_virtual_environment() -> None:
    """Also if they differ in what is optional only."""
    different: list[dict[str, Any]] = [{}, {"requirements": ("x",)}, {"requirements": ("x",), "optional": ("y",)}]
    names = {directory_name(contender("a", **each), "python") for each in different}
    assert len(names) == 3


def test_a_python_that_does_not_exist_is_a_reason() -> None:
    """A peer that installs on old ones only is left out where there is none."""
    with pytest.raises(CannotInstall, match=r"needs Python 2\.5 to 2\.6"):
        interpreter(contender("a", pythons=((2, 5), (2, 6))))


# The page


@pytest.mark.parametrize("mark", ["compared", "loads"])
def test_the_page_has_a_place_for_the_result(tmp_path: Path, mark: str) -> None:
    """The runner fills it in."""
    copy = tmp_path / "page.md"
    copy.write_text(PAGE.read_text())
    pages.replace(copy, mark, "the result")
    assert "the result" in copy.read_text()


def test_the_options_on_the_page_exist() -> None:
    """The runner takes every one of them."""
    known = parser().format_help()
    options = re.findall(r"--[a-z][a-z-]*", GUIDE.read_text())
    assert options
    for option in options:
        assert option in known


# All of it


def test_a_program_that_fails_says_why() -> None:
    """Its last words are the reason."""
    floor, place = replace(by_name("floor"), server=None, address="127.0.0.1:1"), Place(Path(sys.executable))
    with Serving(floor, place, "cartpole") as serving, pytest.raises(Failed, match="refused"):
        play(serving, floor, place, "cartpole", 0.1, 1)


def test_a_server_that_ends_is_a_failure_of_its_contender_only() -> None:
    """The others go on, and its rounds have the reason."""
    broken = replace(by_name("floor"), name="broken", server=("{python}", "-c", "raise SystemExit('it is broken')"))
    found = _measured([broken, by_name("floor")], "cartpole", 1)
    assert [(each.contender, "it is broken" in each.error, each.steps > 0) for each in found] == [
        ("broken", True, False),
        ("floor", False, True),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("clients", [1, 2])
def test_gymtwist_is_compared_with_gymnasium_and_the_floor(clients: int) -> None:
    """A real server, real programs, one short round: everybody has a rate."""
    wanted = [by_name(name) for name in ("inprocess", "floor", "gymtwist", "gymtwist-json", "gymtwist-classic")]
    for each in _measured(wanted, "cartpole", clients):
        assert not each.error
        assert each.rate > 0


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["cartpole-8", "nested", "pong", "pong-84x84-8"])
def test_gymtwist_plays_what_is_compared(workload: str) -> None:
    """The other workloads, without those whose libraries may be missing."""
    if workload.startswith("pong") and importlib.util.find_spec("ale_py") is None:
        pytest.skip("there is no ale-py")
    (found,) = _measured([by_name("gymtwist")], workload, 1)
    assert not found.error


def _measured(contenders: list[Contender], workload: str, clients: int) -> list[Run]:
    """Lets contenders play a short round with what is installed for the tests."""
    places = {each.name: Place(Path(sys.executable)) for each in contenders}
    effort = Effort(1, 0.1, (clients,))
    return measure(Series(workload, clients, tuple(contenders)), places, effort, lambda each: None)

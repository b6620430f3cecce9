"""The comparison takes fair turns, calculates correctly, and names what is missing."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from gymtwist_benchmarks import flooded_sessions, watched_sessions
from gymtwist_benchmarks.bare_tcp import STEP_SIZES
from gymtwist_benchmarks.benchmark_runner import (
    Effort,
    Place,
    Run,
    Series,
    measure,
    median_ratio,
    plan,
    play,
    prepare,
    replacements,
    server_command,
    turns,
)
from gymtwist_benchmarks.comparison import parser
from gymtwist_benchmarks.comparison_report import (
    TARGETS,
    Document,
    Target,
    machines_table,
    median,
    participants,
    ratio_text,
    verdict,
    workload_table,
    write,
)
from gymtwist_benchmarks.contenders import BY_NAME, CONTENDERS, HERE, NOTES, REQUEST_WAYS, WRAPPED_WAYS, Contender
from gymtwist_benchmarks.markdown_report import Section, replace_result, table, values_table
from gymtwist_benchmarks.server_launcher import Failed, ServerProcess
from gymtwist_benchmarks.side_by_side import pair_contenders, ratios_table
from gymtwist_benchmarks.venvs import build, directory_name, packages
from gymtwist_benchmarks.workloads import WORKLOADS
from tests.support.server_process import REPOSITORY

PAGE = REPOSITORY / "docs" / "reference" / "benchmarks.md"
GUIDE = REPOSITORY / "docs" / "how-to" / "run-benchmarks.md"


def contender(name: str, kind: str = "network", **settings: Any) -> Contender:
    """Make a contender that plays CartPole."""
    made = Contender(name, name.upper(), kind, (), "bare_tcp", ("cartpole",))
    return replace(made, **settings)


def document(**rates: list[float]) -> Document:
    """Make the result of one-second rounds of CartPole; an underscore in a name stands for a hyphen."""
    runs = [
        Run(name.replace("_", "-"), "cartpole", 1, number, int(rate), 1.0)
        for name, found in rates.items()
        for number, rate in enumerate(found)
    ]
    return Document("A machine.", 0.5, {"rounds": 3, "seconds": 1.0, "clients": [1]}, {}, runs)


def test_machines_are_shown_side_by_side() -> None:
    """The targets of both, where either has a result."""
    one, other = document(gymtwist=[300.0], gym_socket_api=[100.0]), document(gymtwist=[200.0])
    peers = [contender("gym-socket-api"), contender("gymtwist", "gymtwist")]
    rows = [line for line in machines_table([one, other], peers).splitlines() if "| CartPole / gym-socket-api" in line]
    assert [[each.strip() for each in row.split("|")[1:-1]] for row in rows] == [
        ["CartPole / gym-socket-api", "3.0", "-"]
    ]


# The order


def test_contenders_take_turns() -> None:
    """A B C A B C: a slow machine slows all of them down."""
    order = [(number, each.name) for number, each in turns([contender("a"), contender("b"), contender("c")], 2)]
    assert order == [(0, "a"), (0, "b"), (0, "c"), (1, "a"), (1, "b"), (1, "c")]


def test_only_cartpole_is_played_by_several_clients() -> None:
    """And only by contenders that support it."""
    one = contender("one", workloads=("cartpole", "pong"))
    many = contender("many", clients=(1, 4), workloads=("cartpole", "pong"))
    planned = plan([one, many], ["cartpole", "pong"], [1, 4])
    assert [(each.workload, each.clients, [who.name for who in each.contenders]) for each in planned] == [
        ("cartpole", 1, ["one", "many"]),
        ("cartpole", 4, ["many"]),
        ("pong", 1, ["one", "many"]),
    ]


def test_a_series_without_contenders_is_left_out() -> None:
    """Its table would be empty."""
    assert plan([contender("a")], ["pong"], [1]) == []


# The arithmetic


def test_the_median_of_an_even_number_is_a_mean_of_two() -> None:
    """The usual definition."""
    assert median({0: 1.0, 1: 9.0, 2: 3.0, 3: 5.0}) == 4.0


def test_no_rates_have_no_median() -> None:
    """A contender that failed in all rounds has no rate, not a rate of 0."""
    assert median({}) is None


def test_rates_are_divided_round_by_round() -> None:
    """A round in which the machine was slow for both does not change their ratio."""
    assert median_ratio({0: 200.0, 1: 20.0, 2: 240.0}, {0: 100.0, 1: 10.0, 2: 80.0}) == 2.0


def test_a_round_with_a_failure_has_no_ratio() -> None:
    """The others are."""
    assert median_ratio({0: 200.0, 2: 300.0}, {0: 100.0, 1: 10.0}) == 2.0


def test_rounds_that_do_not_meet_have_no_ratio() -> None:
    """The ratio is not 0."""
    assert median_ratio({0: 200.0}, {1: 10.0}) is None


@pytest.mark.parametrize(("value", "text"), [(25.2, "25"), (2.44, "2.4"), (0.456, "0.46"), (None, "-")])
def test_a_ratio_has_its_significant_digits(value: float | None, text: str) -> None:
    """A quotient of two noisy numbers does not have three."""
    assert ratio_text(value) == text


# What is written


def test_the_fastest_is_at_the_top_and_gymtwist_is_bold() -> None:
    """Each line has the median, the range, and both ratios."""
    everybody = [contender("here", "limit"), contender("gymtwist", "gymtwist"), contender("peer")]
    text = workload_table(
        document(peer=[10.0, 20.0, 30.0], gymtwist=[50.0, 100.0, 90.0], here=[200.0, 400.0, 360.0]),
        everybody,
        "cartpole",
    )
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert cells[2:] == [
        ["HERE", "360", "200 to 400", "0.0", "1.00", "0.25"],
        ["**GYMTWIST**", "90.0", "50.0 to 100", "0.0", "0.25", "-"],
        ["PEER", "20.0", "10.0 to 30.0", "0.0", "0.05", "5.0"],
    ]


def test_every_line_of_a_table_is_as_long() -> None:
    """It can be read without being rendered."""
    lines = table([("", "a"), ("a longer name", "1"), ("x", "1,000,000")], numbers=True).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_a_target_is_met_or_missed() -> None:
    """By the median of the ratios."""
    found = document(gymtwist=[250.0, 100.0, 300.0], peer=[100.0, 100.0, 100.0])
    target = Target("t", "cartpole", "gymtwist", ("peer",), 2.5)
    assert verdict(found, target, []) == ("t", "2.5", "2.5 at least", "met")
    assert verdict(found, replace(target, least=2.6), []) == ("t", "2.5", "2.6 at least", "missed")


def test_ahead_means_ahead_of_the_fastest_peer() -> None:
    """As fast is not ahead."""
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


def test_contenders_that_played_are_listed_with_versions() -> None:
    """Their own requirements come first."""
    found = document(openenv=[1.0])
    found.packages = {"openenv": {"numpy": "2", "peer-rpc": "1", "something": "3"}}
    peers = [contender("openenv", requirements=("peer_rpc>=1",)), contender("absent")]
    assert participants(found, peers) == f"- **OPENENV**: {NOTES['openenv']} (peer-rpc 1, numpy 2)"


def test_the_json_of_a_result_can_be_read() -> None:
    """Plots are drawn from the file."""
    found = document(gymtwist=[1.0, 2.0])
    assert Document.read(json.loads(json.dumps(asdict(found)))) == found


def test_the_result_goes_between_the_comments_of_a_page(tmp_path: Path) -> None:
    """Only the former result is replaced."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- compared: begin -->\nold\n<!-- compared: end -->\nafter\n")
    replace_result(page, "compared", "new")
    assert page.read_text() == "before\n<!-- compared: begin -->\n\nnew\n\n<!-- compared: end -->\nafter\n"


def test_a_page_without_a_place_is_refused(tmp_path: Path) -> None:
    """Rather than left as it is."""
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="compared: begin"):
        replace_result(page, "compared", "new")


def test_two_trees_are_compared_row_by_row() -> None:
    """The ratio is the median of the ratios of the rounds; a row that is too slow is marked."""
    ((now, before),) = pair_contenders(["gymtwist"])
    runs = [
        Run(who.name, "cartpole", 1, number, steps, 1.0)
        for who, rates in ((now, (90, 96, 200)), (before, (100, 100, 100)))
        for number, steps in enumerate(rates)
    ]
    text = ratios_table(Document("", 0.0, {}, {}, runs), [Series("cartpole", 1, (now, before))])
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


@pytest.mark.parametrize("each", BY_NAME.values(), ids=lambda each: each.name)
def test_a_contender_can_be_run(each: Contender) -> None:
    """It has a program, and refers to nothing unknown."""
    assert HERE.joinpath(*each.program.split(".")).with_suffix(".py").is_file()
    assert set(each.workloads) <= WORKLOADS.keys()
    words = replacements(Place(Path("bin/python")), "cartpole", 1, "127.0.0.1:1")
    for text in (*(each.server or ()), each.address):
        assert "{" not in text.format(**words)


def test_the_names_of_contenders_differ() -> None:
    """They identify contenders in the JSON, and each has a note."""
    names = [each.name for each in CONTENDERS]
    assert len(set(names)) == len(names)
    assert names == list(NOTES)


def test_targets_are_about_contenders() -> None:
    """And about workloads that these play."""
    for target in TARGETS:
        for name in (target.contender, *target.against):
            assert target.workload in BY_NAME[name].workloads


def test_bare_tcp_knows_the_sizes_of_its_workloads() -> None:
    """It has those of each workload that it plays."""
    assert {*BY_NAME["floor"].workloads, *BY_NAME["floor-polling"].workloads} <= STEP_SIZES.keys()


def test_a_peer_without_a_checkout_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says how to get one."""
    peer = contender("peer", checkout="someone/some-peer")
    assert prepare([peer], tmp_path, {"some-peer": tmp_path / "absent"}) == {}
    assert "--checkout some-peer=PATH" in capsys.readouterr().err


def test_a_virtual_environment_is_made_once(tmp_path: Path) -> None:
    """Contenders with the same requirements share it."""
    told: list[str] = []
    first = build(contender("a"), tmp_path, told.append)
    assert build(contender("b"), tmp_path, told.append) == first
    assert len(told) == 1
    assert packages(first) == {}


def test_other_requirements_are_another_virtual_environment() -> None:
    """Optional requirements count, too."""
    different: list[dict[str, Any]] = [{}, {"requirements": ("x",)}, {"requirements": ("x",), "optional": ("y",)}]
    names = {directory_name(contender("a", **each)) for each in different}
    assert len(names) == 3


# The page


@pytest.mark.parametrize("mark", ["compared", "loads"])
def test_the_page_has_a_place_for_the_result(tmp_path: Path, mark: str) -> None:
    """The command fills it in."""
    copy = tmp_path / "page.md"
    copy.write_text(PAGE.read_text())
    replace_result(copy, mark, "the result")
    assert "the result" in copy.read_text()


def test_the_options_on_the_page_exist() -> None:
    """The command accepts each of them."""
    known = parser().format_help()
    options = re.findall(r"--[a-z][a-z-]*", GUIDE.read_text())
    assert options
    for option in options:
        assert option in known


# All of it

#: Steps, seconds of a round, and those of the processor.
Played = tuple[int, float, float]


@pytest.fixture(scope="module")
def play_round() -> Iterator[Callable[..., Played]]:
    """Let one of gymtwist's contenders play a short round; their servers read none of the variables, and are one."""
    place = Place(Path(sys.executable))
    with ExitStack() as stack:
        addresses: dict[object, str] = {}

        def play_round(each: Contender, workload: str, seconds: float = 0.05) -> Played:
            assert each.kind == "gymtwist"
            words = tuple(server_command(each, place, workload))
            if words not in addresses:
                addresses[words] = stack.enter_context(ServerProcess(words, each.ready)).address
            return play(each, place, workload, seconds, server=addresses[words], warm=0.05)

        yield play_round


def test_a_failed_program_has_a_reason() -> None:
    """The reason is the last line of its output."""
    with pytest.raises(Failed, match="refused"):
        play(BY_NAME["floor"], Place(Path(sys.executable)), "cartpole", 0.1, server="127.0.0.1:1")


def test_a_server_that_ends_is_a_failure_of_its_contender_only() -> None:
    """Its rounds have the reason, and the others go on."""
    broken = replace(BY_NAME["floor"], name="broken", server=("{python}", "-c", "raise SystemExit('it is broken')"))
    found = _measured([broken, BY_NAME["floor"]], "cartpole", 1)
    assert [(each.contender, "it is broken" in each.error, each.steps > 0) for each in found] == [
        ("broken", True, False),
        ("floor", False, True),
    ]


@pytest.mark.slow
def test_gymtwist_is_compared_with_gymnasium_and_the_floor() -> None:
    """Real servers and programs have a rate after one short round, of two clients at once."""
    wanted = [BY_NAME[name] for name in ("inprocess", "floor", "gymtwist")]
    for each in _measured(wanted, "cartpole", 2):
        assert not each.error
        assert each.rate > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "workload"),
    [
        ("gymtwist", "cartpole-8"),
        ("gymtwist", "nested"),
        ("gymtwist", "pong"),
        ("gymtwist", "pong-84x84-8"),
        ("gymtwist-json", "cartpole"),
        ("gymtwist-classic", "cartpole"),
    ],
)
def test_gymtwist_plays_the_compared_workloads(play_round: Callable[..., Played], name: str, workload: str) -> None:
    """By each protocol, and the other workloads, except those whose libraries may be missing."""
    if workload.startswith("pong") and importlib.util.find_spec("ale_py") is None:
        pytest.skip("there is no ale-py")
    steps, _, _ = play_round(BY_NAME[name], workload)
    assert steps > 0


@pytest.mark.slow
@pytest.mark.parametrize("each", REQUEST_WAYS, ids=lambda each: each.name)
def test_each_way_of_requests_plays(play_round: Callable[..., Played], each: Contender) -> None:
    """Also across the ends of episodes."""
    for seconds in (0.05, 1.0, 10.0):  # A busy machine needs longer for more than one episode, which has 200 steps.
        steps, taken, _ = play_round(each, "mountain-car", seconds)
        if steps > 200:
            return
    pytest.fail(f"only {steps} steps in {taken:.1f} s")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("each", "workload"),
    [
        # Each way and each workload, for every day.
        (WRAPPED_WAYS[0], "pong-frames-8"),
        (WRAPPED_WAYS[0], "pong-84x84-8"),
        (WRAPPED_WAYS[1], "pong-frames"),
        pytest.param(WRAPPED_WAYS[0], "pong-frames", marks=pytest.mark.sweep),
        pytest.param(WRAPPED_WAYS[1], "pong-frames-8", marks=pytest.mark.sweep),
        pytest.param(WRAPPED_WAYS[1], "pong-84x84-8", marks=pytest.mark.sweep),
    ],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
def test_wrapped_environments_play(play_round: Callable[..., Played], each: Contender, workload: str) -> None:
    """At the server and here."""
    for module in ("ale_py", "cv2"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"there is no {module}")
    steps, _, _ = play_round(each, workload)
    assert steps > 0


def _measured(contenders: list[Contender], workload: str, clients: int) -> list[Run]:
    """Let contenders play a short round with the libraries of the tests."""
    places = {each.name: Place(Path(sys.executable)) for each in contenders}
    effort = Effort(1, 0.1, (clients,))
    return measure(Series(workload, clients, tuple(contenders)), places, effort, lambda each: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "each", [each for each in CONTENDERS if each.program == "programs.javascript_client"], ids=lambda each: each.name
)
def test_a_client_in_javascript_plays(play_round: Callable[..., Played], each: Contender) -> None:
    """By each protocol, with observations as bytes, base64 and nested lists; frames, where it plays Pong."""
    if importlib.util.find_spec("ale_py") is None or shutil.which("node") is None:
        pytest.skip("there is no ale-py, or no Node.js")
    _, _, processor_time = play_round(each, each.workloads[-1])
    assert processor_time > 0


@pytest.mark.slow
@pytest.mark.sweep
def test_the_watched_session_is_seen() -> None:
    """A rate with the live view open says nothing unless frames come."""
    section = watched_sessions.measure(quick=True)
    assert section.value("frames of the live view")
    assert [row.target for row in section.rows if row.target] == ["0.98 at least", "0.9 at least", "0.98 at least"]


@pytest.mark.slow
@pytest.mark.sweep
def test_a_flood_is_one() -> None:
    """The rate while nobody floods says nothing."""
    section = flooded_sessions.measure(quick=True)
    assert section.value("connections that were opened")
    assert [row.target for row in section.rows if row.target] == ["0.8 at least"]


def test_a_row_has_its_target_and_whether_it_is_met() -> None:
    """The ratio is the median of the ratios of the rounds."""
    section = Section("a title")
    section.add_ratio("one / other", [90.0, 96.0, 200.0], [100.0, 100.0, 100.0], 0.98)
    assert section.value("one / other") == 0.96
    assert "0.98 at least: missed" in values_table(section)

"""The checks of a server: the real one passes them, and each finds a server that is wrong in its way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gymtwist_conformance import command
from gymtwist_conformance.reference_client import ENCODINGS, INT32, NETSTRING
from gymtwist_conformance.reference_client.shared_region import IS_POSSIBLE
from gymtwist_conformance.server_checks import load_checks
from gymtwist_conformance.server_checks.subject import Options, Subject
from tests.conftest import Start
from tests.support.forked_programs import Programs
from tests.support.mutating_proxy import Mutation, Proxy
from tests.support.patience import PATIENCE
from tests.support.reply_mutations import MutationFactory, answers, writes
from tests.support.server_process import ServerProcess, connected
from tests.support.wrong_servers import BINARY_ONLY, TEXT_ONLY, WRONG

CHECKS = load_checks()
ALSO = ("Taxi-v4", "Blackjack-v1")
RAISING, DYING = "Fault/RaiseInStep-v0", "Fault/SegfaultInStep-v0"
OBJECTIVES, MIRROR = "Objectives-v0", "Mirror-v0"
QUEUE = "make.report-queue"
#: The themes of what the proxy does not pass on as it is: memory is shared past it, and vectors and ends take it long.
NOT_BEHIND_THE_PROXY = {"vector", "sharing", "fault"}


def run_check(port: int, encoding: str, name: str, **options: Any) -> tuple[str, str]:
    """Run a check; return its outcome and the reason."""
    known = {
        "also": ALSO,
        "raising": RAISING,
        "exception": "ValueError",
        "dying": DYING,
        "vector_rewards": OBJECTIVES,
        "mirror": MIRROR,
        "attribute": "gravity",
        "agents": "classic/rps_v2",
    }
    fields: dict[str, Any] = {**known, **options}
    try:
        with Subject(Options(("127.0.0.1", port), **fields), encoding) as subject:
            CHECKS[name](subject)
    except pytest.skip.Exception as skipped:
        return "skipped", str(skipped)
    except Exception as failure:
        return "failed", str(failure)
    return "passed", ""


def is_missing(encoding: str, name: str) -> bool:
    """Return whether there is nothing to check: in a framing, or on this system."""
    only = TEXT_ONLY if encoding == INT32 else BINARY_ONLY
    return name in only or (name.startswith("sharing.") and not IS_POSSIBLE)


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that is soon full."""
    with ServerProcess(tmp_path_factory.mktemp("small"), "--max-sessions", "2", "--queue", "3") as running:
        yield running


@pytest.fixture
def checked(request: pytest.FixtureRequest, name: str) -> tuple[int, dict[str, int]]:
    """The port of the server that a check is for, and what is known of it."""
    if name == QUEUE:
        return request.getfixturevalue("small_server").port, {"max_sessions": 2}
    return request.getfixturevalue("module_server").port, {}


def in_turn(name: str) -> str:
    """Return the framing in which a check's wrong server is found every day, of those that it has."""
    there = [encoding for encoding in ENCODINGS if not is_missing(encoding, name)]
    return there[list(WRONG).index(name) % len(there)] if there else ENCODINGS[0]


def passes(*, behind_the_proxy: bool) -> list[Any]:
    """Return each check in each framing, directly or behind the proxy; which of them is for every day.

    Directly in the one framing, and behind the proxy in the other, in which the wrong server is found: it is known then
    that it is found for what is wrong. What does not go through the proxy is checked directly in both.
    """
    found = []
    for name in CHECKS:
        theme = name.partition(".")[0]
        is_proxied = theme not in NOT_BEHIND_THE_PROXY
        for encoding in ENCODINGS if is_proxied or not behind_the_proxy else ():
            has_turn = encoding == in_turn(name)
            daily = {is_proxied and has_turn and not is_missing(encoding, name)}
            if theme == "framing":  # the proxy writes the frames of replies itself
                daily.add(False)
            marks = [] if behind_the_proxy in daily else [pytest.mark.sweep]
            found.append(pytest.param(encoding, name, marks=marks))
    return found


@pytest.mark.parametrize(("encoding", "name"), passes(behind_the_proxy=False))
def test_the_server_passes(checked: tuple[int, dict[str, int]], encoding: str, name: str) -> None:
    """Every check passes, and none is skipped but for what the framing does not have."""
    port, known = checked
    outcome, why = run_check(port, encoding, name, patience=PATIENCE, **known)
    assert outcome == ("skipped" if is_missing(encoding, name) else "passed"), why


@pytest.mark.parametrize(("encoding", "name"), passes(behind_the_proxy=True))
def test_the_server_passes_behind_the_proxy(checked: tuple[int, dict[str, int]], encoding: str, name: str) -> None:
    """So what a wrong server fails by is what was changed."""
    port, known = checked
    with Proxy(port, Mutation) as proxy:
        outcome, why = run_check(proxy.port, encoding, name, patience=PATIENCE, **known)
    assert outcome == ("skipped" if is_missing(encoding, name) else "passed"), why


def test_each_check_has_a_server_that_it_finds() -> None:
    """There is no check that nothing can fail."""
    assert CHECKS.keys() == WRONG.keys()


def each_in_turn() -> list[Any]:
    """Return each wrong server in one of the framings that it has, which take turns; the other is for a sweep."""
    return [
        pytest.param(encoding, name, marks=[] if encoding == in_turn(name) else [pytest.mark.sweep])
        for name in WRONG
        for encoding in ENCODINGS
        if not is_missing(encoding, name)
    ]


@pytest.mark.parametrize(("encoding", "name"), each_in_turn())
def test_a_wrong_server_is_found(checked: tuple[int, dict[str, int]], encoding: str, name: str) -> None:
    """The check that is for what is wrong with a server fails, with a reason."""
    port, known = checked
    with Proxy(port, WRONG[name]) as proxy:
        outcome, why = run_check(proxy.port, encoding, name, patience=0.5, **known)
    assert (outcome, bool(why)) == ("failed", True)


@pytest.mark.parametrize(
    ("encoding", "mutation", "words"),
    [
        (NETSTRING, writes(lambda data: data[:-1] + b";"), "comma"),
        (NETSTRING, writes(lambda data: b"0" + data), "leading zeros"),
        (NETSTRING, writes(lambda data: data.replace(b'"reward":1.0', b'"reward":NaN')), "NaN is not"),
        (INT32, writes(lambda data: data[3::-1] + data[4:]), ""),
        (NETSTRING, answers(lambda message: message.update(terminated=0), "step"), "terminated"),
        (NETSTRING, answers(lambda message: message.update(reward="one"), "step"), "reward"),
    ],
    ids=["no comma", "leading zero", "NaN in JSON", "little-endian", "flag as number", "reward as text"],
)
def test_a_server_that_no_client_could_read(
    module_server: ServerProcess, encoding: str, mutation: MutationFactory, words: str
) -> None:
    """The first check fails, and says what is wrong with the bytes."""
    with Proxy(module_server.port, mutation) as proxy:
        outcome, why = run_check(proxy.port, encoding, "framing.whole-frames", patience=5.0 if words else 0.5)
    assert outcome == "failed"
    assert words in why


def test_one_framing(module_server: ServerProcess) -> None:
    """A server that has one framing alone is not asked for the other."""
    found = run_check(module_server.port, NETSTRING, "values.both-framings", framing=(NETSTRING,))
    assert found == ("skipped", "the server is not checked in int32")


@pytest.mark.parametrize("name", [name for name in CHECKS if name.startswith("sharing.")])
def test_a_server_that_shares_no_memory(module_server: ServerProcess, name: str) -> None:
    """The checks of shared memory are skipped, with the reason."""
    with Proxy(module_server.port, answers(lambda message: message.pop("shared_memory", None), "make")) as proxy:
        outcome, why = run_check(proxy.port, INT32, name)
    assert outcome == "skipped"
    assert "shares no memory" in why


def test_memory_out_of_reach(module_server: ServerProcess) -> None:
    """A server whose address is in another network namespace is not at fault."""
    away = answers(lambda message: message.update(address="gymtwist-away") if "address" in message else None, "share")
    with Proxy(module_server.port, away) as proxy:
        assert run_check(proxy.port, INT32, "sharing.doorbell")[0] == "skipped"


@pytest.mark.skipif(not IS_POSSIBLE, reason="memory can be shared on Linux on x86-64 only")
def test_a_server_without_reply_slots(start: Start, tmp_path: Path) -> None:
    """A server that was written before there were any fails the checks of slots, and no other."""
    setup = tmp_path / "setup.py"
    setup.write_text(
        "from gymtwist.worker.shared_memory_transport import SharedMemoryTransport\n"
        "assert SharedMemoryTransport._choose_slot\n"
        "SharedMemoryTransport._choose_slot = lambda transport: None\n"
    )
    server = start(setup=setup)
    connected(("127.0.0.1", server.port)).close()
    names = ["sharing.mixed-transports", "sharing.reply-slot", "sharing.slot-out-of-bounds"]
    assert [run_check(server.port, INT32, name)[0] for name in names] == ["passed", "failed", "failed"]


# The command


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Runs the command, which imports these libraries."""
    with Programs(tmp_path_factory.mktemp("programs"), "msgspec", "numpy", "pytest") as running:
        yield running


@pytest.mark.parametrize(
    ("words", "status", "summary"),
    [
        (["--only", "envs", "--only", "values.both-*"], 0, "10 passed, "),
        (["--only", "values.base64", "--framing", "int32"], 2, "1 skipped"),
        (["--only", "fault", "--raising", RAISING, "--framing", INT32], 0, "4 passed, 1 skipped"),
        (["--only", "values.within-*", "--environment", "NoSuch-v0", "-q"], 1, "2 failed"),
        (["--only", "values", "--bad-option"], 2, "unrecognized arguments"),
    ],
)
def test_the_command_against_the_server(
    module_server: ServerProcess, programs: Programs, tmp_path: Path, words: list[str], status: int, summary: str
) -> None:
    """It prints the summary of pytest, and ends with a status."""
    line = ("-m", "gymtwist_conformance", "server", f"127.0.0.1:{module_server.port}", *words)
    ended = programs.run(tmp_path, *line)
    assert ended.status == status, ended
    assert summary in ended.output + ended.errors


def test_no_server(programs: Programs, tmp_path: Path) -> None:
    """Every check fails, and says so."""
    ended = programs.run(tmp_path, "-m", "gymtwist_conformance", "server", "127.0.0.1:1", "--only", "values")
    assert ended.status == 1
    assert "5 failed, 5 skipped" in ended.output
    assert "ConnectionRefusedError" in ended.output


def test_the_list_of_checks(capsys: pytest.CaptureFixture[str]) -> None:
    """It has a sentence for each."""
    assert command.main(["server", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(CHECKS)
    assert all(line.endswith(".") for line in lines)


@pytest.mark.parametrize("words", [["server"], ["server", "localhost"], ["server", "h:1", "--only", "nothing"], []])
def test_a_wrong_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused with the usage."""
    with pytest.raises(SystemExit) as caught:
        command.main(words)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["server", "127.0.0.1:5001", "--patience", "0"],
        ["server", "127.0.0.1:5001", "--patience", "nan"],
        ["server", "127.0.0.1:5001", "--num-envs", "-1"],
        ["client", "--port", "70000"],
        ["client", "--patience", "-1"],
    ],
)
def test_options_out_of_range(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """They are refused before anything is checked."""
    with pytest.raises(SystemExit) as caught:
        command.main(words)
    assert caught.value.code == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", [INT32, pytest.param(NETSTRING, marks=pytest.mark.sweep)])
def test_a_run_by_pytest_alone(module_server: ServerProcess, programs: Programs, tmp_path: Path, encoding: str) -> None:
    """The plugin serves a plain pytest as well."""
    words = ["-p", "gymtwist_conformance.plugin", "--pyargs", "gymtwist_conformance.server_checks.check_values"]
    options = ["--server", f"127.0.0.1:{module_server.port}", "--framing", encoding, "-p", "no:cacheprovider"]
    ended = programs.run(tmp_path, "-m", "pytest", *words, *options)
    assert ended.status == 0, ended

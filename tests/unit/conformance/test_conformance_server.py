"""The checks of a server: the real one passes them, and each finds a server that is wrong in its way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from gymtwist.conformance import command
from gymtwist.conformance.encoding import PROTOCOLS
from gymtwist.conformance.report import Outcome, Report, Result
from gymtwist.conformance.server.runner import CHECKS, chosen, results
from gymtwist.conformance.server.subject import Options
from gymtwist.protocol.shared_memory import IS_POSSIBLE
from tests.conftest import Start
from tests.support.framed_client import ENCODINGS, INT32, NETSTRING
from tests.support.mutating_proxy import Bend, Proxy
from tests.support.patience import PATIENCE
from tests.support.reply_mutations import Bending, answers, writes
from tests.support.server_process import ServerProcess, connected
from tests.support.wrong_servers import TEXT_ONLY, WRONG

ALSO = ("FrozenLake-v1", "Taxi-v4", "Blackjack-v1")
RAISING, DYING = "Fault/RaiseInStep-v0", "Fault/SegfaultInStep-v0"


def check(port: int, encoding: str, names: Sequence[str], **options: Any) -> list[Result]:
    """Runs checks against the server at a port."""
    # The framing that is judged comes first; the other one is spoken as well.
    framings = tuple(sorted(PROTOCOLS.values(), key=lambda each: each.value != encoding))
    fields = {"also": ALSO, "raising": RAISING, "dying": DYING, "framings": framings, **options}
    checks = chosen(names)
    return list(islice(results(Options(("127.0.0.1", port), **fields), checks), len(checks)))


def is_missing(encoding: str, name: str) -> bool:
    """Tells whether there is nothing to check: in a framing, or on this system."""
    return (encoding == INT32 and name in TEXT_ONLY) or (name.startswith("sharing.") and not IS_POSSIBLE)


@pytest.mark.parametrize("name", [each.name for each in CHECKS])
def test_the_server_passes(module_server: ServerProcess, encoding: str, name: str) -> None:
    """Every check, in both framings; it skips none but what the framing has not."""
    (result,) = check(module_server.port, encoding, [name])
    skipped = is_missing(encoding, name)
    assert (result.outcome, result.name) == (Outcome.SKIP if skipped else Outcome.PASS, name), result.why


def test_each_check_has_a_server_that_it_finds() -> None:
    """No check is there that nothing can fail."""
    assert {each.name for each in CHECKS} == WRONG.keys()


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_server_is_found_out(module_server: ServerProcess, encoding: str, name: str) -> None:
    """By the check that is for what is wrong with it, and with a reason."""
    if is_missing(encoding, name):
        pytest.skip("netstrings and JSON alone have it, or memory that can be shared")
    with Proxy(module_server.port, WRONG[name]) as proxy:
        (result,) = check(proxy.port, encoding, [name], patience=1.0)
    assert result.outcome is Outcome.FAIL, result
    assert result.why


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_proxy_itself_is_right(module_server: ServerProcess, encoding: str) -> None:
    """So what a wrong server fails by is what was bent."""
    with Proxy(module_server.port, Bend) as proxy:
        found = check(proxy.port, encoding, ["make", "episode", "values", "pipelining", "refusal", "framing"])
    assert [each for each in found if each.outcome is Outcome.FAIL] == []


@pytest.mark.parametrize(
    ("encoding", "bend", "words"),
    [
        (NETSTRING, writes(lambda data: data[:-1] + b";"), "comma"),
        (NETSTRING, writes(lambda data: b"0" + data), "leading zeros"),
        (NETSTRING, writes(lambda data: data.replace(b'"reward":1.0', b'"reward":NaN')), "malformed"),
        (INT32, writes(lambda data: data[3::-1] + data[4:]), ""),
        (NETSTRING, answers(lambda told: told.update(terminated=0), "step"), "terminated"),
        (NETSTRING, answers(lambda told: told.update(reward="one"), "step"), "reward"),
    ],
    ids=["no comma", "leading zero", "NaN in JSON", "little-endian", "flag as number", "reward as text"],
)
def test_a_server_that_no_client_could_read(
    module_server: ServerProcess, encoding: str, bend: Bending, words: str
) -> None:
    """Fails the first check already, with what is wrong with the bytes."""
    with Proxy(module_server.port, bend) as proxy:
        (result,) = check(proxy.port, encoding, ["framing.whole-frames"], patience=1.0)
    assert result.outcome is Outcome.FAIL
    assert words in result.why


def test_one_framing(module_server: ServerProcess) -> None:
    """A server that has one alone is not asked for the other."""
    framings = (PROTOCOLS[NETSTRING],)
    (result,) = check(module_server.port, NETSTRING, ["values.in-both-framings"], framings=framings)
    assert (result.outcome, result.why) == (Outcome.SKIP, "the server is not judged in int32")


def test_a_server_that_shares_no_memory(module_server: ServerProcess) -> None:
    """Need not: what is about memory is skipped, with the reason."""
    with Proxy(module_server.port, answers(lambda told: told.pop("shared_memory", None), "make")) as proxy:
        found = check(proxy.port, INT32, ["sharing"])
    assert {each.outcome for each in found} == {Outcome.SKIP}
    assert all("shares no memory" in each.why for each in found)


def test_memory_out_of_reach(module_server: ServerProcess) -> None:
    """Is no fault of the server's: nobody listens at its address in this network namespace."""
    away = answers(lambda told: told.update(address="gymtwist-away") if "address" in told else None, "share")
    with Proxy(module_server.port, away) as proxy:
        (result,) = check(proxy.port, INT32, ["sharing.a-bell"])
    assert result.outcome is Outcome.SKIP


@pytest.mark.skipif(not IS_POSSIBLE, reason="memory can be shared on Linux on x86-64 only")
def test_a_server_that_does_not_go_by_the_place(start: Start, tmp_path: Path) -> None:
    """As one would be that was written before there were any."""
    setup = tmp_path / "setup.py"
    setup.write_text(
        "from gymtwist.worker.shared_memory_transport import SharedMemoryTransport\n"
        "SharedMemoryTransport._go_to_place = lambda channel: None\n"
    )
    server = start(setup=setup)
    connected(("127.0.0.1", server.port)).close()
    names = ["sharing.either-way", "sharing.a-place-for-the-reply", "sharing.a-place-outside-the-room"]
    found = [each.outcome for each in check(server.port, INT32, names)]
    assert found == [Outcome.PASS, Outcome.FAIL, Outcome.FAIL]


def test_no_server() -> None:
    """Fails every check, in words."""
    found = check(1, NETSTRING, ["values"])
    assert {each.outcome for each in found} == {Outcome.FAIL}
    assert all("connection failed" in each.why for each in found)


# The report


def test_the_lines_of_a_report() -> None:
    """One for each result, with the reason in the same line, and a summary."""
    lines: list[str] = []
    report = Report(lines.append)
    report.add(Result("a.b", "int32", Outcome.PASS))
    report.add(Result("a.c", "int32", Outcome.FAIL, "it is\nso"))
    report.add(Result("a.d", "netstring", Outcome.SKIP, "no"))
    assert report.finish() == 1
    assert lines == [
        "pass  int32             a.b",
        "FAIL  int32             a.c: it is so",
        "skip  netstring         a.d: no",
        "1 passed, 1 failed, 1 skipped",
    ]


@pytest.mark.parametrize(
    ("outcomes", "status"), [([], 2), ([Outcome.SKIP], 2), ([Outcome.PASS, Outcome.SKIP], 0), (list(Outcome), 1)]
)
def test_the_status(outcomes: list[Outcome], status: int) -> None:
    """Tells that all is well only if something was checked."""
    report = Report(lambda line: None)
    for outcome in outcomes:
        report.add(Result("a.b", "int32", outcome))
    assert report.finish() == status


# The command


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command."""
    line = [sys.executable, "-m", "gymtwist.conformance", *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_the_command_against_the_server(module_server: ServerProcess) -> None:
    """It prints lines for people, or an object for programs, and ends with a status."""
    address = f"127.0.0.1:{module_server.port}"
    ended = run("server", address, "--only", "make", "--only", "values.in-*")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[-1] == f"{len(lines) - 1} passed, 0 failed, 0 skipped"
    ended = run("server", address, "--only", "values.as-base64", "--framing", "int32", "--json")
    assert ended.returncode == 2
    found = json.loads(ended.stdout)
    assert found["summary"] == {"passed": 0, "failed": 0, "skipped": 1}
    assert found["results"][0]["outcome"] == "skip"


def test_the_list_of_checks(capsys: pytest.CaptureFixture[str]) -> None:
    """It has a sentence for each."""
    assert command.main(["server", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [each.name for each in CHECKS]
    assert all(line.endswith(".") for line in lines)


@pytest.mark.parametrize("words", [["server"], ["server", "localhost"], ["server", "h:1", "--only", "nothing"], []])
def test_a_wrong_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Is refused with the usage."""
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
def test_numbers_that_make_no_sense_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It is not the server or the client that is wrong."""
    with pytest.raises(SystemExit) as caught:
        command.main(words)
    assert caught.value.code == 2
    assert "expected" in capsys.readouterr().err

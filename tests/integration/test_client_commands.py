"""The commands of ``python -m gymtwist`` that ask a server."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gymtwist.__main__ import main
from gymtwist.client.commands import shown_text
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)


def run(capsys: pytest.CaptureFixture[str], command: str, *words: str) -> str:
    """Run a command that succeeds; return what it prints."""
    assert main([command, *words]) == 0
    return capsys.readouterr().out


def test_ls_lists_environments(served: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Each in a line, with what is known of it."""
    lines = run(capsys, "ls", str(served.port), "gym:CartPole-v*").splitlines()
    assert [line.split() for line in lines] == [
        ["gym:CartPole-v0", "gym", "200", "steps", "solved", "at", "195"],
        ["gym:CartPole-v1", "gym", "500", "steps", "solved", "at", "475"],
    ]
    assert run(capsys, "ls", str(served.port), "nothing like this") == ""


def test_ping_measures_round_trips(served: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """After it has said what it has reached."""
    told = run(capsys, "ping", f"localhost:{served.port}", "--count", "3", "--protocol", "netstring")
    reached, measured = told.splitlines()
    assert re.match(rf"localhost:{served.port}: gymtwist \S+; connected in [\d.]+ ms, first reply", reached)
    assert re.fullmatch(r"3 round trips: [\d.]+ ms at least, median [\d.]+ ms, [\d.]+ ms at most", measured)


def test_play_prints_returns(served: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for the same seed."""
    words = (str(served.port), "CartPole-v1", "--episodes", "3", "--seed", "7")
    told = run(capsys, "play", *words)
    assert [line.partition(":")[0] for line in told.splitlines()] == ["episode 1", "episode 2", "episode 3"]
    for line in told.splitlines():
        found = re.search(r"return (\d+), (\d+) steps, terminated$", line)
        assert found is not None
        assert found[1] == found[2]
    assert run(capsys, "play", *words) == told
    assert "2 steps, not ended" in run(capsys, "play", *words[:2], "--steps", "2")


def test_play_prints_rewards_that_are_arrays(served: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Summed up for each objective."""
    assert re.search(r"return \S+ \S+, 3 steps", run(capsys, "play", str(served.port), "Objectives-v0", "--steps", "3"))


def test_play_shows_text(served: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the environment renders it; keyword arguments reach it."""
    words = (
        str(served.port),
        "FrozenLake-v1",
        "--render",
        "--steps",
        "1",
        "--kwargs",
        '{"desc": ["SFF", "FFF", "FFG"]}',
    )
    assert "FFG" in run(capsys, "play", *words)
    assert main(["play", str(served.port), "CartPole-v1", "--render"]) == 1
    assert 'has no render mode "ansi"' in capsys.readouterr().err


def test_a_server_does_not_control_the_terminal() -> None:
    """Colours and lines are shown, anything else is escaped."""
    assert shown_text("\x1b[41mS\x1b[0mF\x1b]0;title\x07\nG\n") == "\x1b[41mS\x1b[0mF\\x1b]0;title\\x07\nG"
    assert shown_text(None) == "no text: NoneType"


def test_bench_measures_steps(served: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one environment, or of several."""
    words = (str(served.port), "CartPole-v1", "--seconds", "0.01")
    assert re.match(r"CartPole-v1: [\d,]+ steps/s \([\d,]+ steps in", run(capsys, "bench", *words))
    told = run(capsys, "bench", *words, "--num-envs", "4", "--processes", "2")
    assert re.match(r"CartPole-v1: [\d,]+ steps/s of 4 environments together, [\d,]+ of a single one \(", told)


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        (["ls", "nowhere.invalid:1"], 1, "no connection to nowhere.invalid:1"),
        (["ls", "unix:/nowhere/socket", "--connect-timeout", "0.001"], 1, "is the server running?"),
        (["ls", "nowhere"], 2, "no address: 'nowhere'"),
        (["ping", "5001", "--timeout", "0"], 2, "timeout is 0.0"),
        (["bench", "5001", "CartPole-v1", "--processes", "2"], 2, "say how many with --num-envs"),
    ],
)
def test_a_problem_has_a_line_and_a_status(
    capsys: pytest.CaptureFixture[str], words: list[str], status: int, problem: str
) -> None:
    """And no traceback."""
    assert main(words) == status
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"python -m gymtwist {words[0]}: ")
    assert problem in told


@pytest.mark.parametrize(
    "words",
    [
        ["play", "5001", "X-v0", "--episodes", "0"],
        ["play", "5001", "X-v0", "--seed", "-1"],
        ["check", "X-v0", "--steps", "-5"],
        ["check", "X-v0", "--seed", "-1"],
    ],
)
def test_a_number_has_a_range(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """The command line is wrong otherwise."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "is not an integer from" in capsys.readouterr().err


def test_the_output_may_be_cut(served: ServerProcess, tmp_path: Path) -> None:
    """As by head; that is no error."""
    line = f"set -o pipefail; {sys.executable} -m gymtwist ls {served.port} | true"
    ended = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("text", ["nan", "0", "-1", "long"])
def test_a_bench_takes_time(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """The command line is wrong otherwise."""
    with pytest.raises(SystemExit) as ended:
        main(["bench", "5001", "X-v0", "--seconds", text])
    assert ended.value.code == 2
    assert f"{text!r} is not a number of seconds" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{desc", "[1]", "[" * 100_000])
def test_keyword_arguments_are_an_object(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """The error shows one."""
    with pytest.raises(SystemExit) as ended:
        main(["play", "5001", "X-v0", "--kwargs", text])
    assert ended.value.code == 2
    assert "is not an object in JSON; expected one such as '{\"frameskip\": 4}'" in capsys.readouterr().err


def test_a_command_can_be_interrupted(served: ServerProcess) -> None:
    """It ends by the signal, without a traceback."""
    command = [sys.executable, "-m", "gymtwist", "play", str(served.port), "CartPole-v1", "--episodes", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as playing:
        assert playing.stdout is not None
        assert playing.stdout.readline().startswith("episode 1: ")
        playing.send_signal(signal.SIGINT)
        _, errors = playing.communicate(timeout=PATIENCE)
    assert (playing.returncode, errors) == (-signal.SIGINT, "")

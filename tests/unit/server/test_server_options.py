"""The options of `twistd gymsock`: their texts, their defaults, and what is wrong with a wrong one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from twisted.python import usage

from gymtwist.server.command_line import Options
from gymtwist.server.server_options import ServerOptions
from gymtwist.worker.worker_settings import Isolation, SessionLimits, WorkerSettings

LOOPBACK = "tcp:5001:interface=127.0.0.1:backlog=1024"
NAMES = [name.replace("_", "-") for name in ServerOptions.__struct_fields__]


def parse(*words: str) -> Options:
    """Read a command line."""
    options = Options()
    options.parseOptions(list(words))
    return options


def rows(options: Options) -> list[list[Any]]:
    """Return the tables of the options that have one."""
    tables: Any = options
    return [*tables.optParameters, *tables.optFlags]


def test_without_options_every_value_is_its_default() -> None:
    """The table of options is the only place where a default is written."""
    assert parse().server_options() == ServerOptions()
    assert parse().server_options().endpoints == (LOOPBACK,)


def test_the_defaults_of_the_workers() -> None:
    """Recordings stay below the directory that the server is started in."""
    limits = SessionLimits(idle=600.0, step=300.0)
    expected = WorkerSettings(monitor_root=os.path.realpath(os.getcwd()), limits=limits, record_quota=10_000 * 2**20)
    assert parse().server_options().worker_settings() == expected


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_help_text(name: str) -> None:
    """A sentence at least."""
    options = Options()
    texts = {row[0]: row[-2 if len(row) > 4 else -1] for row in rows(options)}
    if name not in texts:
        texts[name] = " ".join(getattr(options, "opt_" + name.replace("-", "_")).__doc__.split())
    assert len(texts[name].split()) >= 6
    assert texts[name][0].isupper()
    assert f"--{name}" in str(options)


def test_every_setting_of_a_worker_has_an_option() -> None:
    """By its name, or by the conversion from another unit."""
    converted = {"gpus", "identity", "identity_record_quota", "limits", "max_frame", "shared_memory"}
    found_at_start = {"control_groups", "trial_users"}
    assert set(WorkerSettings.__struct_fields__) - converted - found_at_start <= set(ServerOptions.__struct_fields__)


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--port", "80"], "port", "tcp:80:interface=127.0.0.1:backlog=1024"),
        (["-p", "0"], "port", "tcp:0:interface=127.0.0.1:backlog=1024"),
        (["--port", "tcp:5001"], "port", "tcp:5001:backlog=1024"),
        (["--port", "tcp:5001:backlog=9"], "port", "tcp:5001:backlog=9"),
        (["--listen", "unix:/run/g", "--listen", "7"], "listen",
         ("unix:/run/g:backlog=1024", "tcp:7:interface=127.0.0.1:backlog=1024")),
        (["--warm", "0"], "warm", 0),
        (["--max-sessions", "1"], "max_sessions", 1),
        (["--queue", "0"], "queue", 0),
        (["--opening-timeout", "0.5"], "opening_timeout", 0.5),
        (["--idle-timeout", "0"], "idle_timeout", 0.0),
        (["--step-timeout", "1e3"], "step_timeout", 1000.0),
        (["--drain", "0"], "drain", 0.0),
        (["--keepalive", "0"], "keepalive", 0.0),
        (["--allow", "A*", "--allow", "B*"], "allow", ("A*", "B*")),
        (["--start-method", "spawn"], "start_method", "spawn"),
        (["--isolate", "all"], "isolate", Isolation.ALL),
        (["--session-reads", "/", "--session-reads", "/usr"], "session_reads", ("/", "/usr")),
        (["--session-connects", "443"], "session_connects", (443,)),
    ],
)  # fmt: skip
def test_an_option_of_the_server(words: list[str], field: str, value: object) -> None:
    """It becomes one field, and no other changes."""
    assert parse(*words).server_options() == msgspec.structs.replace(ServerOptions(), **{field: value})


def test_the_server_listens_on_the_port_and_on_further_endpoints() -> None:
    """The port comes first."""
    assert parse("--listen", "tcp:7").server_options().endpoints == (LOOPBACK, "tcp:7:backlog=1024")


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--preload", "sys", "--preload", "os.path"], "preload", ("sys", "os.path")),
        (["--display"], "display", True),
        (["--seed", "0"], "seed", 0),
        (["--memory-limit", "512"], "memory_limit", 512 * 2**20),
        (["--allow", "A*", "--allow", "B*"], "allow", ("A*", "B*")),
        (["--kwargs", "frameskip,obs_type"], "kwargs", "frameskip,obs_type"),
        (["--wrappers", "gymnasium,mine.own:Wrapper"], "wrappers", "gymnasium,mine.own:Wrapper"),
        (["--wrappers", "none"], "wrappers", "none"),
        (["--wrappers", "TimeLimit,a:B"], "wrappers", "TimeLimit,a:B"),
        (["--no-shared-memory"], "shared_memory", False),
        (["--poll", "0"], "poll", 0.0),
        (["--poll", "250"], "poll", 250e-6),
        (["--poll", "1000000"], "poll", 1.0),
    ],
)
def test_an_option_of_the_workers(words: list[str], field: str, value: object) -> None:
    """It reaches them by their command line."""
    settings = parse(*words).server_options().worker_settings()
    assert getattr(settings, field) == value
    assert WorkerSettings.from_argument(settings.to_argument()) == settings


def test_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon changes its directory before its workers read them."""
    (tmp_path / "setup.py").write_text("pass\n")
    (tmp_path / "root").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = parse("--setup", "setup.py", "--monitor-root", "root").server_options().worker_settings()
    assert settings.setup == str(tmp_path / "setup.py")
    assert settings.monitor_root == str((tmp_path / "root").resolve())


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("port", "70000", "a port number is from 0 to 65535"),
        ("port", "", "such as tcp:5001:interface=127.0.0.1"),
        ("port", "-1", "such as tcp:5001:interface=127.0.0.1"),
        ("port", "nonsense:1", "such as tcp:5001:interface=127.0.0.1"),
        ("listen", "65536", "a port number is from 0 to 65535"),
        ("listen", "ssl:0:privateKey=/does/not/exist", "such as tcp:5001:interface=127.0.0.1"),
        *((name, value, "must be a whole number")
          for name in ("warm", "max-sessions", "queue", "memory-limit", "seed") for value in ("many", "1.5", "")),
        ("kwargs", "a,", "must be plain, all, none, or names separated by commas"),
        ("kwargs", "", "must be plain, all, none, or names separated by commas"),
        *(("wrappers", value, "must be gymnasium, none, or names separated by commas")
          for value in ("", "TimeLimit,", "none,TimeLimit", "RecordVideo", ":TimeLimit", "a:b:C", "a-b:C", "a:")),
        *((name, "-1", "must be a whole number from 0 to") for name in ("warm", "queue", "memory-limit")),
        *((name, "9" * 30, "must be a whole number from") for name in ("warm", "max-sessions", "queue",
                                                                       "memory-limit")),
        ("max-sessions", "0", "must be a whole number from 1 to"),
        ("seed", "-1", "must be a whole number from 0 to 2**63 - 1"),
        ("seed", "9" * 30, "must be a whole number from 0 to 2**63 - 1"),
        *((name, value, "must be a number of seconds")
          for name in ("opening-timeout", "idle-timeout", "step-timeout", "drain", "keepalive")
          for value in ("soon", "-1", "nan", "inf", "1e99", "")),
        ("opening-timeout", "0", "must be a number of seconds, more than 0"),
        *(("poll", value, "must be a number of microseconds") for value in ("soon", "-1", "nan", "inf", "1000001", "")),
        ("start-method", "thread", "must be 'forkserver' or 'spawn'"),
        *(("place", value, "such as 10.0.0.1:6379") for value in ("nowhere", "10.0.0.1", "http://10.0.0.1:1", "")),
        ("place-strategy", "random", "must be 'pack' or 'spread'"),
        *((name, value, "0 or more") for name in ("session-cpus", "session-gpus") for value in ("-1", "nan", "few")),
        *(("session-resource", value, "such as simulator=1") for value in ("simulator", "=1", "simulator=many")),
        ("runtime-env", "/does/not/exist.json", "No such file"),
        ("isolate", "none", "must be limits, files, user or all"),
        ("session-writes", "/nonexistent", "there is no such file or directory"),
        ("session-connects", "0", "must be a whole number from 1 to 65535"),
        *(("session-users", ids, "must be two numbers such as 1900000000-1900065535") for ids in ("0-9", "9", "9-8")),
        ("preload", "no-module", "must be the name of a module"),
        ("preload", "", "must be the name of a module"),
        ("preload", "no_such_module.environments", "there is no such module where the server starts"),
        ("setup", "/does/not/exist.py", "No such file"),
        ("monitor-root", "/does/not/exist", "create it first"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_an_error_of_one_line(name: str, value: str, remedy: str) -> None:
    """It names the option and the value, and says what would be right."""
    with pytest.raises(usage.UsageError) as raised:
        parse(f"--{name}", value)
    message = str(raised.value)
    assert f"--{name}" in message
    assert value in message
    assert remedy in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["def", "\0", "x = '\n"])
def test_a_setup_file_that_is_not_python_is_an_error(tmp_path: Path, text: str) -> None:
    """Told before anything starts, in one line."""
    setup = tmp_path / "setup.py"
    setup.write_text(text)
    with pytest.raises(usage.UsageError, match=f"--setup {setup}: not Python: ") as raised:
        parse("--setup", str(setup))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("text", "problem"), [("{", "it is not JSON"), ("[]", "it must be an object of JSON")])
def test_a_runtime_environment_that_is_no_object_is_an_error(tmp_path: Path, text: str, problem: str) -> None:
    """Told before Ray is asked."""
    file = tmp_path / "env.json"
    file.write_text(text)
    with pytest.raises(usage.UsageError, match=f"--runtime-env {file}: {problem}"):
        parse("--runtime-env", str(file))


@pytest.mark.parametrize("words", [["--nonsense"], ["--display=1"], ["--warm"], ["stray"]])
def test_an_unknown_option_is_an_error(words: list[str]) -> None:
    """Of one line, as well."""
    with pytest.raises(usage.UsageError) as raised:
        parse(*words)
    assert "\n" not in str(raised.value)


def test_an_options_value_reaches_the_help() -> None:
    """Defaults are shown, so that nobody has to guess them."""
    text = " ".join(str(Options()).split())
    for default in ("5001", "256", "600.0", "forkserver"):
        assert f"[default: {default}]" in text


def test_the_limits_are_told_in_a_line() -> None:
    """Those that there are."""
    assert ServerOptions().limits_text == (
        "256 sessions at once, 64 more wait, 600 s of silence, 300 s for a step, 3600 s for a request, "
        "no limit of memory"
    )
    options = ServerOptions(max_sessions=3, queue=0, idle_timeout=0.0, step_timeout=2.5, memory_limit=500)
    assert options.limits_text == (
        "3 sessions at once, 0 more wait, 2.5 s for a step, 3600 s for a request, 500 MiB of memory each"
    )

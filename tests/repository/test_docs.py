"""The pages say what is so: their programs run, their commands exist, and their tables are complete."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from twisted.scripts._twistd_unix import ServerOptions

from gymtwist import client
from gymtwist.client import aio, connect
from gymtwist.server.command_line import Options
from gymtwist_conformance.reference_client import Refused
from tests.support.forked_programs import Programs
from tests.support.patience import PATIENCE
from tests.support.process_inspection import hold
from tests.support.recorded_datasets import wait_for_recordings
from tests.support.server_process import ANY_PORT, REPOSITORY, ServerProcess, run_twistd

README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
TUTORIAL = DOCS / "tutorial" / "index.md"
SERVICE = DOCS / "how-to" / "run-as-a-service.md"
TLS = DOCS / "how-to" / "use-tls-and-unix-sockets.md"
DECISIONS = sorted((DOCS / "adr").glob("0*.md"))
#: The pages that a forge shows by itself.
AT_THE_TOP = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")]
PAGES = [
    *AT_THE_TOP,
    *sorted((REPOSITORY / "findings").glob("*.md")),
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"# (\w+\.py)\n")

#: Languages whose blocks are shown and not run.
SHOWN_ONLY = {"toml", "yaml", "text", "ini", "json"}
#: What a page needs besides the server's own requirements.
NEEDED = {
    **dict.fromkeys((TUTORIAL, DOCS / "how-to" / "classic-client.md"), ("ale_py", "moviepy", "pygame")),
    DOCS / "how-to" / "record-datasets.md": ("minari", "h5py"),
}


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the fenced blocks of a page in these languages."""
    found = [Block(*each) for each in _BLOCK.findall(page.read_text())]
    return [block.text for block in found if block.language in languages]


def name_of(page: Path) -> str:
    """Return the path of a page within the repository."""
    return str(page.relative_to(REPOSITORY))


def commands(page: Path) -> list[list[str]]:
    """Return the commands that a page tells the reader to type, as words."""
    lines = "".join(blocks(page, "console", "sh")).replace("\\\n", "").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def program_name(number: int, text: str) -> str:
    """Return the name that the first line of a program gives to its file, or one of its number."""
    named = _FILE_NAME.match(text)
    return named.group(1) if named else f"program_{number}.py"


# Programs

WITH_PROGRAMS = [page for page in PAGES if blocks(page, "python")]


@pytest.fixture(scope="module")
def documented_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server as the pages together describe it: with the tutorial's environment, a UNIX socket, and TLS."""
    directory = tmp_path_factory.mktemp("docs")
    setup = directory / "environments.py"
    tutorial = blocks(TUTORIAL, "python")
    setup.write_text(next(text for text in tutorial if program_name(0, text) == setup.name))
    options = ["--listen", "unix:gymsock.sock"]
    if shutil.which("openssl") is not None:
        (request,) = (words for words in commands(TLS) if words[:1] == ["openssl"])
        subprocess.run(request, cwd=directory, check=True, capture_output=True, timeout=PATIENCE)
        options += ["--listen", "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"]
    with ServerProcess(directory, *options, setup=setup) as running:
        yield running


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Runs programs, most of which import these libraries, and do little else that takes as long."""
    with Programs(tmp_path_factory.mktemp("programs"), "gymnasium", "msgspec") as running:
        yield running


@pytest.mark.parametrize("page", WITH_PROGRAMS, ids=[name_of(page) for page in WITH_PROGRAMS])
def test_the_programs_of_a_page_run(documented_server: ServerProcess, programs: Programs, page: Path) -> None:
    """In the order of the page, in one directory, each as a program of its own, against a real server."""
    for module in NEEDED.get(page, ()):
        pytest.importorskip(module)
    ports = {"5001": str(documented_server.port)}
    if "5002" in "".join(blocks(page, "python")):
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl to make a certificate with")
        ports["5002"] = documented_server.wait_for(r"\(TLS\) starting on (\d+)").group(1)
    for number, text in enumerate(blocks(page, "python")):
        for documented, real in ports.items():
            text = text.replace(documented, real)
        text = text.replace("time.sleep(0.1)", "time.sleep(0.001)")  # So that people can watch.
        wait_for_recordings(documented_server.directory / "datasets")
        program = documented_server.directory / program_name(number, text)
        program.write_text(text)
        ended = programs.run(documented_server.directory, program.name)
        assert ended.status == 0, f"{page.name}, {program.name}:\n{ended}\n{documented_server.tail()}"


def test_the_readme_has_one_whole_client() -> None:
    """It is short, says where it connects to in its first lines, and needs nothing that is not Python's own."""
    *_, program = blocks(README, "python")
    assert 'HOST, PORT = "127.0.0.1", 5001\n' in program
    imports = re.findall(r"^(?:import|from) (.*)$", program, re.MULTILINE)
    assert {name.strip() for line in imports for name in line.split(",")} <= set(sys.stdlib_module_names)
    assert len([line for line in program.splitlines() if line.strip()]) <= 30


def test_the_tutorial_quotes_the_server(documented_server: ServerProcess) -> None:
    """The message for an unknown id is the server's own, up to what depends on Gymnasium's version."""
    text = " ".join(TUTORIAL.read_text().split())
    quoted = re.search(r"`(unknown environment .*?) \.\.\.`", text)
    assert quoted is not None
    with documented_server.connect() as connection, pytest.raises(Refused) as refusal:
        connection.open("CartPole-v7")
    assert str(refusal.value).startswith(quoted.group(1))


# Commands


def test_the_daemon_on_the_page_of_services(tmp_path: Path) -> None:
    """It returns when it serves, writes both files where it was told to, and ends when its process is told to."""
    (words,) = (each for each in commands(SERVICE) if any("--logfile" in w for w in each))
    (tmp_path / "recordings").mkdir()
    started = run_twistd(*[ANY_PORT if word == "5001" else word for word in words[1:]], directory=tmp_path)
    assert started.returncode == 0, started.stdout
    (daemon,) = hold([int((tmp_path / "gymsock.pid").read_text())])
    try:
        found = re.search(r" starting on (\d+)", (tmp_path / "gymsock.log").read_text())
        assert found
        # Until it serves, which is a moment later, it could be killed by what it is told to end by.
        connect(int(found.group(1)), "CartPole-v1", timeout=PATIENCE).close()
        os.kill(daemon.process, signal.SIGTERM)
        assert daemon.wait(PATIENCE)
    finally:
        daemon.kill()
    assert not (tmp_path / "gymsock.pid").exists()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_run_or_marked_as_shown(page: Path) -> None:
    """A block of an unknown language would be checked by nothing."""
    languages = {language for language, _ in _BLOCK.findall(page.read_text())}
    assert languages <= {"python", "console", "sh", *SHOWN_ONLY}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_has_every_target_that_a_page_names(page: Path) -> None:
    """Every target is one of the Makefile's."""
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    shown = {words[1] for words in commands(page) if words[:1] == ["make"]}
    named = set(re.findall(r"`make ([\w-]+)[^`]*`", page.read_text()))
    assert shown | named <= targets


def test_the_readme_has_the_two_commands() -> None:
    """One starts the server, the other runs the tests."""
    assert {"serve", "test"} <= {words[1] for words in commands(README) if words[:1] == ["make"]}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_options_in_commands_exist(page: Path) -> None:
    """Those of twistd before the word gymsock, and ours behind it."""
    for words in commands(page):
        words = [part for word in words for part in (shlex.split(word[5:]) if word.startswith("ARGS=") else [word])]
        if "gymsock" in words:
            place = words.index("gymsock")
            start = words.index("twistd")
            _check_options(ServerOptions(), words[start + 1 : place])
            _check_options(Options(), words[place + 1 :])
        elif words[:2] == ["make", "serve"]:
            _check_options(Options(), words[2:])


def _check_options(options: Any, words: list[str]) -> None:
    known = {name.rstrip("=") for name in options.longOpt}
    for word in words:
        if word.startswith("--"):
            assert word[2:].partition("=")[0] in known, word


def test_the_version_that_git_checks_out_is_in_every_clone() -> None:
    """A tag may not be there yet."""
    trees = [words for page in PAGES for words in commands(page) if words[:3] == ["git", "worktree", "add"]]
    assert {words[-1] for words in trees} == {"origin/main"}


def test_the_extras_in_commands_exist() -> None:
    """What the reader is told to install is declared."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    section = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    declared = set(re.findall(r"^([\w-]+) = \[", section, re.MULTILINE))
    named = re.findall(r"pip install .*\.\[([\w,-]+)\]", "\n".join(page.read_text() for page in PAGES))
    assert named
    assert {extra for extras in named for extra in extras.split(",")} <= declared


def test_every_extra_for_users_is_on_the_page_of_installation() -> None:
    """No more, no less."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    section = text.partition("# What the server can do more of.")[2].partition("# What working on it takes.")[0]
    declared = set(re.findall(r"^([\w-]+) = \[", section, re.MULTILINE))
    page = (DOCS / "how-to" / "install.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == declared


# Options


def defaults() -> dict[str, str]:
    """Return every option's default, as the pages write it."""
    written = {}
    for name, value in Options().items():
        if value is None or value == []:
            written[name] = "none"
        elif isinstance(value, float):
            written[name] = f"`{value:g}`"
        else:
            written[name] = f"`{value}`"
    written.update(dict.fromkeys((flag[0] for flag in Options.optFlags), "off"))
    written["monitor-root"] = "the working directory"
    return written


def test_the_table_of_the_readme_has_every_option_with_its_default() -> None:
    """No more, no less."""
    table = dict(re.findall(r"^\| `--([\w-]+)` \| (.*?) \|", README.read_text(), re.MULTILINE))
    assert table == defaults()


def test_the_page_of_options_has_every_option_with_its_default() -> None:
    """No more, no less."""
    page = (DOCS / "reference" / "options.md").read_text()
    headings = dict(re.findall(r"^`--([\w-]+)`(.*)\n: ", page, re.MULTILINE))
    assert headings.keys() == defaults().keys()
    for name, heading in headings.items():
        default = defaults()[name]
        if default not in ("none", "off"):
            assert default.strip("`") in heading


def test_the_page_of_options_has_the_short_forms() -> None:
    """Those that `--help` prints."""
    page = (DOCS / "reference" / "options.md").read_text()
    letters = re.findall(r"^ +-(\w), --", Options().getUsage(width=1000), re.MULTILINE)
    assert letters
    for letter in letters:
        assert f"`-{letter}`" in page


def test_the_help_of_twistd_has_the_same_options_by_the_same_subjects() -> None:
    """The class that is compared with the pages is the one that prints the help."""
    page = (DOCS / "reference" / "options.md").read_text()
    headings = re.findall(r"^(?:## (.*)|`--([\w-]+)`.*(?=\n: ))", page, re.MULTILINE)
    printed = Options().getUsage(width=1000).partition("\nServe Gymnasium")[0]
    assert re.findall(r"^(?:(\w.*):| .*?--([\w-]+))", printed.partition("The server:\n")[2], re.MULTILINE) == headings
    assert re.findall(r"--([\w-]+)", printed.partition("The server:\n")[0]) == ["help", "version"]


# The API


def test_the_reference_has_every_public_name_of_the_client() -> None:
    """Of each module's `__all__`, but for the alias of a type, which the signatures spell out."""
    page = (DOCS / "reference" / "python-client.md").read_text()
    documented = re.findall(r"^\.\. auto\w+:: (\w+)", page, re.MULTILINE)
    assert sorted(documented) == sorted([*{*client.__all__} - {"AddressLike"}, *aio.__all__])


# Decisions and terms


@pytest.mark.parametrize("page", DECISIONS, ids=name_of)
def test_a_decision_has_the_form_that_the_readme_describes(page: Path) -> None:
    """A number, a title, a date, a status and three sections; and it is listed."""
    text = page.read_text()
    number, _, _ = page.name.partition("-")
    title = re.match(rf"# {int(number)}\. (.+)\n\nDate: (\d{{4}}-\d\d-\d\d)\n\nStatus: (accepted|superseded)", text)
    assert title
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    row = f"| {title.group(2)} | [{int(number)}. {title.group(1)}]({page.name}) |"
    assert row in (DOCS / "adr" / "README.md").read_text()


def test_the_terms_of_the_glossary_are_in_order() -> None:
    """So that a reader finds them, and each once."""
    terms = re.findall(r"^(\S.*)\n: ", (DOCS / "reference" / "glossary.md").read_text(), re.MULTILINE)
    assert terms == sorted(set(terms), key=str.lower)


# Links


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_module_that_a_page_names_exists(page: Path) -> None:
    """By its path below the package, or below the repository."""
    named = re.findall(r"(?<![\w/.-])((?:\w+/)+\w+\.py)\b", page.read_text())
    for name in named:
        assert (REPOSITORY / "gymtwist" / name).exists() or (REPOSITORY / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_headings_and_marks_occur_once(page: Path) -> None:
    """A second one is a part of the page that was inserted twice."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^## .*$|^<!-- \w+: (?:begin|end) -->$", text, re.MULTILINE)
    assert sorted(found) == sorted(set(found))


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """Within the repository, that is."""
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([\w-]+))?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), (target, anchor)

"""The page that takes a server from a laptop to a laboratory: its commands, one after the other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.background_programs import free_port
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle
from tests.support.server_process import REPOSITORY, variables

PAGE = REPOSITORY / "docs" / "how-to" / "from-laptop-to-laboratory.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"# ([\w.]+)\n")


def test_every_command_of_the_page_does_what_it_should(tmp_path: Path) -> None:
    """Files are saved where the page has them; the server is upgraded twice, and ends at the end."""
    for program in ("openssl", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    # gymsockctl, as the package installs it, from this tree.
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gymsockctl").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gymtwist.control.gymsockctl "$@"\n')
    (programs / "gymsockctl").chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    directory = tmp_path / "server"
    directory.mkdir()
    ports = {"5001": str(free_port()), "5002": str(free_port())}
    script = "set -eu\n"
    handles: list[Handle] = []
    try:
        for language, text in _BLOCK.findall(PAGE.read_text()):
            for documented, real in ports.items():
                text = text.replace(documented, real)
            named = _NAMED.match(text)
            if language != "console":
                assert named is not None
                (directory / named.group(1)).write_text(text)
                continue
            exports = "".join(line + "\n" for line in text.splitlines() if line.startswith("export "))
            done = subprocess.run(
                ["bash", "-c", script + text],
                cwd=directory,
                env=variables({"PATH": path}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            log = directory / "gymsock.log"
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{log.read_text() if log.exists() else ''}"
            script += exports
            if (directory / "gymsock.pid").exists():
                handles.append(Handle(int((directory / "gymsock.pid").read_text())))
        assert all(each.wait(PATIENCE) for each in handles)
    finally:
        for each in handles:
            each.kill()
    assert "gymtwist_sessions" in (directory / "metrics.txt").read_text()
    assert len({each.process for each in handles}) == 3
    assert not (directory / "gymsock.pid").exists()

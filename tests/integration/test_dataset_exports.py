"""Datasets that the server lists and exports: by HTTP and by gymsockctl, to whoever may know of them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("minari")
pytest.importorskip("h5py")

from gymtwist.client import RequestRefused, connect
from tests.conftest import Start
from tests.support.identity_files import write_identities
from tests.support.recorded_datasets import load, load_complete, root_of
from tests.support.server_process import ServerProcess

#: Whether to measure the coverage of its server.
MEASURED = True
OPTIONS = ("--control", "control")


def record(server: ServerProcess, name: str, token: str | None = None, steps: int = 3) -> str:
    """Record an episode of some steps; return the full name of the dataset."""
    with connect(server.port, "CartPole-v1", record=name, token=token) as env:
        env.reset(seed=1)
        for _ in range(steps):
            env.step(0)
        made: Any = env._session.made
    return str(made.recording)


def ask(server: ServerProcess, path: str, token: str | None = None) -> bytes:
    """Return the body of a response."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    with urllib.request.urlopen(request) as response:
        body: bytes = response.read()
        return body


def names(server: ServerProcess, token: str | None = None) -> list[str]:
    """Return the names of the datasets that a client may know of."""
    return [row["name"] for row in json.loads(ask(server, "/api/datasets", token))["datasets"]]


def test_datasets_are_listed_and_exported(server: ServerProcess, tmp_path: Path) -> None:
    """An archive unpacks into a directory of datasets, and is the dataset."""
    name = f"lab/{tmp_path.name}-v0"
    record(server, name)
    original = load_complete(root_of(server), name)
    assert name in names(server)
    row = json.loads(ask(server, f"/api/datasets/{name}"))
    assert row["environment"] == "CartPole-v1"
    assert (row["episodes"], row["steps"], row["complete"]) == (1, 3, True)
    with tarfile.open(fileobj=io.BytesIO(ask(server, f"/api/datasets/{name}.tar"))) as archive:
        archive.extractall(tmp_path, filter="data")
    exported = load(tmp_path, name)
    assert (exported[0].observations == original[0].observations).all()


def test_what_is_not_there_is_not_found(server: ServerProcess) -> None:
    """Whatever a name looks like."""
    record(server, "there-v0")
    load_complete(root_of(server), "there-v0")
    for wrong in ("missing-v0", "..%2f..%2fx-v0.tar", "there-v0/data", ".journals", "%00-v0"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(server, f"/api/datasets/{wrong}")
        with caught.value:
            assert caught.value.code == 404
            assert json.loads(caught.value.read())["code"] == "no-dataset"


def test_an_operator_lists_and_exports(server: ServerProcess, tmp_path: Path) -> None:
    """By gymsockctl."""
    record(server, "operated-v0")
    load_complete(root_of(server), "operated-v0")

    def run(*words: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "gymtwist.control.gymsockctl", "--socket", str(server.directory / "control")]
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    assert "operated-v0" in run("datasets", "oper*")
    assert "there are no datasets" in run("datasets", "none*")
    assert run("export", "operated-v0", "it.tar") == "it.tar: episodes: 1, steps: 3\n"
    with tarfile.open(tmp_path / "it.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    assert load(tmp_path, "operated-v0").total_steps == 3
    assert "no dataset of this name" in run("export", "missing-v0", "missing.tar", status=1)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["it.tar", "operated-v0"]


def test_each_identity_has_its_own(start: Start, tmp_path: Path) -> None:
    """It records below its name, sees no others, and has a quota."""
    path, tokens = write_identities(tmp_path, alice="", bob="record-quota = 1", carol="see-all = true")
    server = start("--identities", path)
    for name in ("alice", "bob"):
        if name == "alice":
            assert record(server, "same-v0", tokens[name]) == "alice/same-v0"
        else:
            with pytest.raises(RequestRefused, match='record-quota of the identity "bob"') as caught:
                record(server, "same-v0", tokens[name])
            assert caught.value.code == "quota-exceeded"
    dataset = load_complete(tmp_path / "datasets", "alice/same-v0")
    assert dataset.storage.metadata["author"] == {"alice"}
    assert dataset.id == "alice/same-v0"
    seen: dict[str, Any] = {name: names(server, token) for name, token in tokens.items()}
    assert seen == {"alice": ["alice/same-v0"], "bob": [], "carol": ["alice/same-v0"]}
    for what in ("/api/datasets/alice/same-v0", "/api/datasets/alice/same-v0.tar"):
        assert ask(server, what, tokens["alice"])
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(server, what, tokens["bob"])
        refused.value.close()
        assert refused.value.code == 404

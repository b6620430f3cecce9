"""What the server tells of itself: JSON as its description has it, and metrics."""

from __future__ import annotations

import collections
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gymtwist.errors import EnvironmentFault
from gymtwist.server.server_state import OTHER
from gymtwist.server.session_events import Refused
from gymtwist.web.openapi import describe
from gymtwist.worker.session_status import EPISODES, FIRST_OBSERVATION, STEPS, SessionStatus
from gymtwist_conformance.reference_client import message
from tests.support.connection_fixtures import Make, connect, read, serving
from tests.support.harness import FakeProcess, Harness, soon
from tests.support.identity_files import write_identities
from tests.support.server_process import REPOSITORY
from tests.unit.web.test_site import answer, request


def get(harness: Harness, path: str) -> tuple[int, Any]:
    """Ask for a path; return the status and the JSON."""
    status, _, body = answer(harness, request(f"GET {path} HTTP/1.1"))
    return status, body


def checked(harness: Harness, path: str, described: str = "") -> Any:
    """Ask for a path, and check the answer with its description."""
    status, body = get(harness, path)
    description = describe()
    found = description["paths"][described or path]["get"]["responses"][str(status)]
    schema = found["content"]["application/json"]["schema"] | {"components": description["components"]}
    jsonschema.Draft202012Validator(schema).validate(body)
    return body


def metrics(harness: Harness) -> dict[tuple[str, tuple[str, ...]], float]:
    """Scrape; return the values by their names and the values of their labels, in the order of the labels' names."""
    with connect(harness, request("GET /metrics HTTP/1.1")) as client:
        _, _, body = read(client, harness).partition(b"\r\n\r\n")
    families = text_string_to_metric_families(body.decode())
    return {
        (each.name, tuple(label for _, label in sorted(each.labels.items()))): each.value
        for family in families
        for each in family.samples
    }


def play(process: FakeProcess, steps: int = 3, total: float = 2.5) -> SessionStatus:
    """Play one episode as a worker shows it."""
    status = process.begin()
    status.words[FIRST_OBSERVATION] = status.last_activity
    status.words[STEPS] = steps
    status.keep_episode(0, total, steps)
    status.words[EPISODES] = 1
    return status


def test_the_description_is_valid() -> None:
    """As OpenAPI 3.1 has it."""
    import openapi_spec_validator  # it brings much along, and every process of the tests imports this module

    openapi_spec_validator.validate(describe())


def test_the_status_has_limits_and_what_is_taken(make: Make) -> None:
    """And the totals of all sessions."""
    harness = make("--max-sessions", "7", "--queue", "5")
    client, process = serving(harness)
    play(process)
    found = checked(harness, "/api/status")
    assert (found["sessions"], found["queue"]) == ({"taken": 1, "limit": 7}, {"taken": 0, "limit": 5})
    assert (found["state"], found["steps"], found["episodes"], found["idle_workers"]) == ("ready", 3, 1, 1)
    client.close()


def test_the_status_tells_what_the_queue_waits_for(make: Make) -> None:
    """By environments, and why none of these can begin."""
    harness = make("--max-sessions", "1", "--queue", "5")
    client, _ = serving(harness)
    handshake = message("netstring", "make", id="Pendulum-v1")
    with connect(harness, handshake), connect(harness, handshake):
        assert checked(harness, "/api/status")["waiting"] == [
            {"environment": "Pendulum-v1", "count": 2, "lack": "1 of 1 sessions run"}
        ]
    client.close()


def test_the_sessions_that_run_are_listed(harness: Harness) -> None:
    """With what their processes show of them."""
    assert checked(harness, "/api/sessions") == {"sessions": []}
    client, process = serving(harness)
    play(process)
    (row,) = checked(harness, "/api/sessions")["sessions"]
    assert (row["number"], row["environment"], row["protocol"], row["state"]) == (
        1,
        "CartPole-v1",
        "classic",
        "waiting",
    )
    assert (row["steps"], row["episodes"], row["last_return"], row["process"]) == (3, 1, 2.5, process.pid)
    assert row["client"].startswith("127.0.0.1:")
    client.close()


def test_a_session_has_its_last_episodes_and_what_it_printed(harness: Harness) -> None:
    """The oldest first."""
    client, process = serving(harness)
    play(process)
    process.process.output.childDataReceived("output", b"first\nsecond <b>\n")
    found = checked(harness, "/api/sessions/1", "/api/sessions/{number}")
    assert found["output"] == ["first", "second <b>"]
    (episode,) = found["last_episodes"]
    assert (episode["number"], episode["return"], episode["steps"]) == (1, 2.5, 3)
    client.close()


def test_a_session_that_has_ended_lately(harness: Harness) -> None:
    """Is kept for a while, with the reason."""
    for _ in range(52):
        client, process = serving(harness)
        play(process)
        process.answer()
        client.close()
        harness.turn()
    found = checked(harness, "/api/sessions/52", "/api/sessions/{number}")
    assert (found["state"], found["ended"], found["steps"]) == ("ended", "the client left", 3)
    assert get(harness, "/api/sessions/3")[0] == 200
    assert get(harness, "/api/sessions/2")[0] == 404


@pytest.mark.parametrize("name", ["7", "0", "one", "%3Cb%3E", "9" * 40])
def test_a_session_that_does_not_run(harness: Harness, name: str) -> None:
    """Is a JSON error that says what to do."""
    assert get(harness, f"/api/sessions/{name}")[0] == 404
    assert checked(harness, f"/api/sessions/{name}", "/api/sessions/{number}")["code"] == "no-session"


def test_impossible_values_of_an_environment(harness: Harness) -> None:
    """Are left out: it can write to the same memory."""
    client, process = serving(harness)
    status = play(process)
    status.words[0:400] = memoryview(bytes(collections.deque([0xFF] * 3200))).cast("d")
    assert checked(harness, "/api/sessions/1", "/api/sessions/{number}")["last_episodes"] == []
    assert metrics(harness)["gymtwist_sessions", (OTHER, "classic")] == 1
    client.close()


def test_errors_are_kept(harness: Harness) -> None:
    """The last of them, and cut."""
    connect(harness, b"\xff\xff\xff\xff").close()
    for _ in range(200):
        harness.factory.events.publish(Refused("127.0.0.1:9", EnvironmentFault("make", "\x1b" + 5000 * "x")))
    found = checked(harness, "/api/errors")["errors"]
    assert len(found) == 100
    assert found[-1]["kind"] == "refused"
    assert len(found[-1]["message"]) < 1100
    assert "\x1b" not in found[-1]["message"]


def test_the_metrics_count_sessions(harness: Harness) -> None:
    """Those that run, and those that have ended, with their steps; nothing is counted twice."""
    client, process = serving(harness)
    play(process)
    found = metrics(harness)
    assert found["gymtwist_sessions", ("CartPole-v1", "classic")] == 1
    assert found["gymtwist_steps_total", ("CartPole-v1",)] == 3
    assert found["gymtwist_first_observation_seconds_count", ()] == 1
    assert found["gymtwist_workers", ("busy",)] == 1
    assert found["gymtwist_ready", ()] == 1
    process.answer()
    client.close()
    harness.turn()
    found = metrics(harness)
    assert ("gymtwist_sessions", ("CartPole-v1", "classic")) not in found
    assert found["gymtwist_sessions_ended_total", ("CartPole-v1", "left", "classic")] == 1
    assert found["gymtwist_steps_total", ("CartPole-v1",)] == 3
    assert found["gymtwist_episodes_total", ("CartPole-v1",)] == 1
    assert found["gymtwist_first_observation_seconds_count", ()] == 1
    assert harness.factory.sessions == {}


def test_prometheus_may_ask_for_openmetrics(harness: Harness) -> None:
    """As it does by default."""
    client, process = serving(harness)
    play(process)
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    with connect(harness, request("GET /metrics HTTP/1.1", Accept=accept)) as asking:
        head, _, body = read(asking, harness).partition(b"\r\n\r\n")
    assert b"Content-Type: application/openmetrics-text" in head
    families = {each.name: each for each in openmetrics.text_string_to_metric_families(body.decode())}
    assert families["gymtwist_steps"].type == "counter"
    assert families["gymtwist_step_seconds"].type == "histogram"
    client.close()


def test_the_dashboard_of_grafana_asks_for_metrics_that_exist(harness: Harness) -> None:
    """Each of its expressions."""
    dashboard = json.loads((REPOSITORY / "docs" / "reference" / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    wanted = {name for each in expressions for name in re.findall(r"\bgymtwist_\w+", each)}
    client, process = serving(harness)
    play(process)
    connect(harness, b"\xff\xff\xff\xff").close()
    other, ending = serving(harness)
    ending.answer()
    harness.turn()
    found = {name for name, _ in metrics(harness)}
    # The processes of these tests are not forked.
    assert wanted - {"gymtwist_fork_server_up"} - found == set()
    client.close()
    other.close()


def test_a_session_that_made_nothing_has_no_label_of_its_own(harness: Harness) -> None:
    """Or clients could make as many as they like."""
    client, process = serving(harness)
    process.answer("the client broke the protocol: no")
    client.close()
    harness.turn()
    assert metrics(harness)["gymtwist_sessions_ended_total", (OTHER, "protocol-error", "classic")] == 1


def test_a_scrape_asks_for_step_times(harness: Harness) -> None:
    """Which cost a step nothing otherwise; those of sessions that have ended are kept."""
    client, process = serving(harness)
    status = play(process)
    assert metrics(harness)["gymtwist_step_seconds_count", ()] == 0
    status.count_step_time(0.002)
    status.count_step_time(99.0)
    for _ in range(2):
        found = metrics(harness)
        assert found["gymtwist_step_seconds_count", ()] == 2
        assert found["gymtwist_step_seconds_bucket", ("0.001",)] == 0
        assert found["gymtwist_step_seconds_bucket", ("0.0025",)] == 1
        assert found["gymtwist_step_seconds_sum", ()] == pytest.approx(99.002)
        if client.fileno() >= 0:
            process.answer()
            client.close()
            harness.turn()


def test_a_crash_is_an_outcome(harness: Harness) -> None:
    """And an error."""
    client, process = serving(harness)
    play(process).words[0] = 1.0
    process.die(-11)
    harness.turn()
    found = metrics(harness)
    assert found["gymtwist_sessions_ended_total", ("CartPole-v1", "crashed", "classic")] == 1
    assert found["gymtwist_worker_crashes_total", ()] == 1
    error = checked(harness, "/api/errors")["errors"][-1]
    assert (error["kind"], error["session"], error["environment"]) == ("crashed", 1, "CartPole-v1")
    client.close()


def test_refusals_are_counted_by_their_code(harness: Harness) -> None:
    """There are as many codes as there are classes of errors."""
    connect(harness, b"\xff\xff\xff\xff").close()
    harness.turn()
    assert metrics(harness)["gymtwist_refusals_total", ("bad-opening",)] == 1


def test_a_server_that_stops_is_not_ready(harness: Harness) -> None:
    """Whoever balances load sends nobody any more."""
    assert checked(harness, "/readyz") == {"status": "ready"}
    harness.factory.admission.stop()
    assert get(harness, "/readyz")[0] == 503
    assert checked(harness, "/readyz") == {"status": "stopping"}


def test_an_identity_sees_what_is_its_own(make: Make, tmp_path: Path) -> None:
    """Unless it is an operator's."""
    path, tokens = write_identities(tmp_path, alice="", bob="", carol="see-all = true")
    harness = make("--identities", path)

    def seen(name: str, path: str) -> Any:
        header = f"Bearer {tokens[name]}"
        return answer(harness, request(f"GET /api/{path} HTTP/1.1", Authorization=header))

    handshake = message("netstring", "make", id="CartPole-v1", token=tokens["alice"])
    client, process = serving(harness, handshake)
    play(process).words[0] = 1.0
    numbers = {name: [each["number"] for each in seen(name, "sessions")[2]["sessions"]] for name in tokens}
    assert numbers == {"alice": [1], "bob": [], "carol": [1]}
    shared = {"version", "state", "uptime", "sessions", "queue", "libraries"}
    assert seen("bob", "status")[2].keys() == shared
    assert seen("carol", "status")[2].keys() > shared | {"steps", "refusals", "memory", "nodes", "waiting", "process"}
    assert {name: seen(name, "sessions/1")[0] for name in tokens} == {"alice": 200, "bob": 404, "carol": 200}
    assert seen("bob", "sessions/1/frame")[1]["no-frame"] == "no-session"
    process.die(-11)
    harness.turn()
    assert {name: len(seen(name, "errors")[2]["errors"]) for name in tokens} == {"alice": 1, "bob": 0, "carol": 1}
    assert seen("bob", "sessions/1")[0] == 404
    client.close()


def test_metrics_are_for_those_who_see_all(make: Make, tmp_path: Path) -> None:
    """They name environments of others, and how much these play."""
    path, tokens = write_identities(tmp_path, alice="", carol="see-all = true")
    harness = make("--identities", path)
    asked = {name: request("GET /metrics HTTP/1.1", Authorization=f"Bearer {tokens[name]}") for name in tokens}
    status, _, problem = answer(harness, asked["alice"])
    assert (status, problem["code"]) == (403, "not-permitted")
    assert "`see-all`" in problem["remedy"]
    with connect(harness, asked["carol"]) as client:
        assert b"gymtwist_steps_total" in read(client, harness)


def test_an_identity_does_not_wait_for_environments_of_others(make: Make, tmp_path: Path) -> None:
    """However long they take to be made."""
    path, tokens = write_identities(tmp_path, alice="", bob="")
    harness = make("--identities", path)
    clients = [
        connect(harness, request(f"GET /api/environments{target} HTTP/1.1", Authorization=f"Bearer {tokens[name]}"))
        for name, target in (("alice", "/A-v0"), ("alice", "/B-v0"), ("alice", "/C-v0"), ("bob", ""))
    ]
    soon(lambda: len(harness.starter.serving) == 3, harness.turn)
    for client in clients:
        client.close()

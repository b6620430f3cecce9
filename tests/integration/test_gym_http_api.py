"""The REST interface of gym-http-api: each route, each error and each status, by plain requests."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import Start
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

OPTIONS = ("--max-sessions", "12", "--queue", "0")
JSON = {"Content-Type": "application/json"}


class Response(NamedTuple):
    """A response; the body is None if there is none, and text if it is no JSON."""

    status: int
    body: Any
    headers: dict[str, str]
    text: str


class Api:
    """A client of one server, with one connection."""

    def __init__(self, port: int) -> None:
        """Connect."""
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.made: list[str] = []

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """Send a request; a body that is no text is sent as JSON."""
        sent = body if body is None or isinstance(body, str) else json.dumps(body)
        self.connection.request(method, path, sent, JSON | {k.replace("_", "-"): v for k, v in headers.items()})
        got = self.connection.getresponse()
        text = got.read().decode()
        return Response(got.status, json.loads(text) if text else None, dict(got.getheaders()), text)

    def post(self, path: str, body: Any = None, **headers: str) -> Response:
        """Send a POST."""
        return self.ask("POST", path, body, **headers)

    def make(self, environment: str, **fields: Any) -> str:
        """Create an instance; return the path of it."""
        made = self.post("/v1/envs/", {"env_id": environment, **fields})
        assert made.status == 200, made
        self.made.append(f"/v1/envs/{made.body['instance_id']}/")
        return self.made[-1]

    def played(self, environment: str, **fields: Any) -> str:
        """Create an instance, and begin an episode."""
        path = self.make(environment, **fields)
        assert self.post(f"{path}reset/").status == 200
        return path


@pytest.fixture
def api(server: ServerProcess) -> Iterator[Api]:
    """A client whose instances are closed at the end."""
    api = Api(server.port)
    yield api
    for path in api.made:
        api.post(f"{path}close/")
    assert api.ask("GET", "/v1/envs/").body == {"all_envs": {}}
    api.connection.close()


def test_an_instance_lives_until_it_is_closed(api: Api, server: ServerProcess) -> None:
    """It is one of the server's sessions, and no other connection closes it."""
    since = server.mark()
    created = api.post("/v1/envs/", {"env_id": "CartPole-v1", "unknown": 1})
    name = created.body["instance_id"]
    assert created.body == {"instance_id": name}
    assert re.fullmatch("[0-9a-f]{8}", name)
    assert created.headers["Content-Type"] == "application/json"
    assert created.text.endswith('"}\n')
    api.connection.close()
    assert api.ask("GET", "/v1/envs/").body == {"all_envs": {name: "CartPole-v1"}}
    server.wait_for(r"started: CartPole-v1 for 127\.0\.0\.1:\d+ \(gym-http-api, ", since=since)
    closed = api.post(f"/v1/envs/{name}/close/")
    assert (closed.status, closed.text) == (200, "{}")
    assert closed.headers["Content-Type"].startswith("text/html")
    server.wait_for("ended: the client left; CartPole-v1", since=since)
    assert api.post(f"/v1/envs/{name}/close/").body == {"message": f"Instance_id {name} unknown"}
    assert api.ask("GET", "/v1/envs/").body == {"all_envs": {}}


def test_an_episode_is_played(api: Api) -> None:
    """With the four fields of a step; the reward has a point."""
    path = api.make("CartPole-v1", seed=7)
    first = api.post(f"{path}reset/", "not read", Content_Type="text/plain")
    assert list(first.body) == ["observation"]
    assert len(first.body["observation"]) == 4
    step = api.post(f"{path}step/", {"action": 1, "render": True})
    assert list(step.body) == ["done", "info", "observation", "reward"]
    assert (step.body["done"], step.body["info"], len(step.body["observation"])) == (False, {}, 4)
    assert '"reward":1.0}\n' in step.text
    again = api.make("CartPole-v1", seed=7)
    assert api.post(f"{again}reset/").body == first.body


@pytest.mark.parametrize("slash", ["", "/"])
def test_every_route_has_a_slash_at_its_end_or_not(api: Api, slash: str) -> None:
    """Clients of some languages leave it out, and one doubles those between."""
    made = api.post(f"//v1/envs{slash}", {"env_id": "CartPole-v1"})
    path = f"/v1//envs/{made.body['instance_id']}"
    api.made.append(f"{path}/")
    answers = [
        api.ask("GET", f"/v1/envs{slash}"),
        api.post(f"{path}/reset{slash}"),
        api.post(f"{path}/step{slash}", {"action": 0}),
        *(api.ask("GET", f"{path}/{each}_space{slash}") for each in ("action", "observation")),
        api.ask("GET", f"{path}/action_space/sample{slash}"),
        api.ask("GET", f"{path}/action_space/contains/1{slash}"),
        api.post(f"{path}/observation_space/contains{slash}", {}),
        api.post(f"{path}/close{slash}"),
    ]
    assert [each.status for each in answers] == [200] * 9


@pytest.mark.parametrize(
    ("environment", "name", "space"),
    [
        ("Act/Discrete-v0", "action", {"name": "Discrete", "n": 3}),
        ("Act/DiscreteFromTen-v0", "action", {"name": "Discrete", "n": 3, "start": 10}),
        ("Act/Box-v0", "action", {"name": "Box", "shape": [2, 2], "low": [-1.0] * 4, "high": [1.0] * 4}),
        ("Act/MultiBinary-v0", "action", {"name": "MultiBinary"}),
        (
            "Observe/Unbounded-v0",
            "observation",
            {"name": "Box", "shape": [4], "low": [-1e100] * 4, "high": [1e100] * 4},
        ),
        ("Observe/Bytes1-v0", "observation", {"name": "Box", "shape": [5], "low": [0] * 5, "high": [255] * 5}),
        ("Observe/Bytes0-v0", "observation", {"name": "Box", "shape": [], "low": [0], "high": [255]}),
    ],
)
def test_spaces_are_described(api: Api, environment: str, name: str, space: dict[str, Any]) -> None:
    """As gym-http-api did."""
    assert api.ask("GET", f"{api.make(environment)}{name}_space/").body == {"info": space}


@pytest.mark.parametrize(
    ("environment", "observation"),
    [
        ("Observe/Unbounded-v0", [None, 1.7976931348623157e308, -1.7976931348623157e308, 1.5]),
        ("Observe/Discrete-v0", 3),
        ("Observe/Tuple-v0", [2, [0.5, -0.5]]),
        ("Observe/Dict-v0", {"inner": {"n": 2}, "pixels": [1, 255]}),
        ("Observe/Text-v0", "größe"),
    ],
)
def test_observations_are_json(api: Api, environment: str, observation: Any) -> None:
    """Also where gym-http-api failed, and numbers that JSON does not have."""
    path = api.played(environment)
    assert api.post(f"{path}reset/").body == {"observation": observation}
    assert api.post(f"{path}step/", {"action": 0}).body["observation"] == observation


def test_infos_and_rewards_are_json(api: Api) -> None:
    """Numbers that JSON does not have are those of the classic protocol."""
    path = api.played("Info-v0")
    step = api.post(f"{path}step/", {"action": 0})
    assert step.status == 200
    assert isinstance(step.body["info"], dict)
    assert "NaN" not in step.text
    assert "Infinity" not in step.text


@pytest.mark.parametrize(
    ("environment", "action"),
    [
        ("Act/Discrete-v0", 1),
        ("Act/Discrete-v0", 0),
        ("Act/Discrete-v0", True),
        ("Act/Discrete-v0", 1.0),
        ("Act/Box-v0", [[0.5, -0.5], [1, -1]]),
        ("Act/Tuple-v0", [1, [0.5, 0.5]]),
        ("Act/Dict-v0", {"move": 1, "force": [0, 0]}),
    ],
)
def test_actions_are_json(api: Api, environment: str, action: Any) -> None:
    """In the form of their space; zero and false are given, too."""
    assert api.post(f"{api.played(environment)}step/", {"action": action}).status == 200


def test_actions_are_sampled(api: Api) -> None:
    """Each is an element."""
    path = api.make("Act/Discrete-v0")
    assert api.ask("GET", f"{path}action_space/sample").body["action"] in range(3)
    assert len(api.ask("GET", f"{api.make('Act/Box-v0')}action_space/sample").body["action"]) == 2


@pytest.mark.parametrize(("text", "member"), [("0", True), ("1", True), ("2", False), ("-1", False), ("%31", True)])
def test_an_action_space_contains_integers(api: Api, text: str, member: bool) -> None:
    """As its name says."""
    path = api.make("CartPole-v1")
    assert api.ask("GET", f"{path}action_space/contains/{text}").body == {"member": member}


def test_a_box_contains_no_integer(api: Api) -> None:
    """Where gym-http-api failed."""
    path = api.make("Act/Box-v0")
    assert api.ask("GET", f"{path}action_space/contains/0").body == {"member": False}


@pytest.mark.parametrize(
    ("fields", "member"),
    [
        ({}, True),
        ({"name": "Box"}, True),
        ({"shape": [4]}, True),
        ({"name": "Box", "shape": [4]}, True),
        ({"shape": [4.0]}, False),
        ({"name": "Discrete"}, False),
    ],
)
def test_an_observation_space_is_compared(api: Api, fields: dict[str, Any], member: bool) -> None:
    """By its fields, as JSON."""
    path = api.make("CartPole-v1")
    assert api.post(f"{path}observation_space/contains", fields).body == {"member": member}


ROUTES = [
    ("POST", "reset/"),
    ("POST", "step/"),
    ("GET", "action_space/"),
    ("GET", "action_space/sample"),
    ("GET", "action_space/contains/0"),
    ("GET", "observation_space/"),
    ("POST", "observation_space/contains"),
    ("POST", "monitor/start/"),
    ("POST", "monitor/close/"),
    ("POST", "close/"),
]


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_an_unknown_instance_is_refused(api: Api, method: str, route: str) -> None:
    """By every route."""
    body = {"action": 0, "directory": "tmp"} if method == "POST" else None
    refused = api.ask(method, f"/v1/envs/bad_id/{route}", body)
    assert (refused.status, refused.body) == (400, {"message": "Instance_id bad_id unknown"})


@pytest.mark.parametrize("value", [None, "", []])
@pytest.mark.parametrize(
    ("path", "given", "name"),
    [
        ("/v1/envs/", {}, "env_id"),
        ("/v1/envs/bad_id/step/", {}, "action"),
        ("/v1/envs/bad_id/monitor/start/", {"force": True}, "directory"),
        ("/v1/upload/", {"api_key": "x"}, "training_dir"),
        ("/v1/upload/", {"training_dir": "tmp"}, "api_key"),
    ],
)
def test_a_parameter_is_required(api: Api, path: str, given: dict[str, Any], name: str, value: Any) -> None:
    """Before anything else is looked at; null, an empty string and an empty list are none."""
    for body in (given, given | {name: value}):
        refused = api.post(path, body)
        assert refused.status == 400
        assert refused.body == {"message": f"A required request parameter '{name}' was not provided"}


@pytest.mark.parametrize(
    "path", ["/v1/envs/", "/v1/envs/bad_id/step/", "/v1/envs/bad_id/monitor/start/", "/v1/upload/"]
)
@pytest.mark.parametrize("body", ["null", "", "{", "[1]", '"x"', "1", '{"action":NaN}', "\x00"])
def test_a_body_must_be_an_object(api: Api, path: str, body: str) -> None:
    """Of JSON."""
    refused = api.post(path, body)
    assert (refused.status, refused.body) == (400, {"message": "Request is not a valid json"})


def test_the_content_type_must_be_json(api: Api) -> None:
    """With parameters or without."""
    body = json.dumps({"env_id": "CartPole-v1"})
    refused = api.post("/v1/envs/", body, Content_Type="text/plain")
    assert (refused.status, refused.body) == (400, {"message": "Request is not a valid json"})
    made = api.post("/v1/envs/", body, Content_Type="application/json; charset=utf-8")
    api.made.append(f"/v1/envs/{made.body['instance_id']}/")
    assert made.status == 200


@pytest.mark.parametrize("environment", ["bad string", "Nothing-v0", "x" * 300, 'quoted"\n', "é", 7, True, {"a": 1}])
def test_an_unknown_environment_is_refused(api: Api, environment: Any) -> None:
    """With the words that clients look for."""
    refused = api.post("/v1/envs/", {"env_id": environment})
    assert refused.status == 400
    assert refused.body["message"].startswith("Attempted to look up malformed environment ID ")


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, 2**63])
def test_a_seed_is_an_integer(api: Api, seed: Any) -> None:
    """From zero on."""
    refused = api.post("/v1/envs/", {"env_id": "CartPole-v1", "seed": seed})
    assert refused.status == 400
    assert "seed" in refused.body["message"]


@pytest.mark.parametrize("action", [2, -1, "1", [1], 1.5, {"a": 1}, 10**30, "x" * 100])
def test_a_bad_action_is_refused(api: Api, action: Any) -> None:
    """And the episode goes on."""
    path = api.played("CartPole-v1")
    refused = api.post(f"{path}step/", {"action": action})
    assert refused.status == 400
    assert list(refused.body) == ["message"]
    assert api.post(f"{path}step/", {"action": 0}).status == 200


def test_a_step_needs_an_episode(api: Api) -> None:
    """The message says what to do."""
    refused = api.post(f"{api.make('CartPole-v1')}step/", {"action": 0})
    assert refused.status == 400
    assert "reset" in refused.body["message"]


@pytest.mark.parametrize("fault", ["RaiseInStep", "SegfaultInStep"])
def test_a_fault_of_the_environment_is_500(api: Api, fault: str) -> None:
    """Even if its process dies; the next reset goes on."""
    path = api.played(f"Fault/{fault}-v0")
    failed = api.post(f"{path}step/", {"action": 0})
    assert failed.status == 500
    assert list(failed.body) == ["message"]
    assert api.post(f"{path}reset/").status == 200


def test_an_environment_that_cannot_be_made_is_500(api: Api) -> None:
    """And no instance is left."""
    failed = api.post("/v1/envs/", {"env_id": "Fault/RaiseInMake-v0"})
    assert failed.status == 500
    assert list(failed.body) == ["message"]


def test_a_full_server_is_503(api: Api) -> None:
    """An instance takes the place of a session."""
    statuses = []
    for _ in range(12):
        made = api.post("/v1/envs/", {"env_id": "CartPole-v1"})
        statuses.append(made.status)
        if made.status == 200:
            api.made.append(f"/v1/envs/{made.body['instance_id']}/")
    assert statuses.count(200) == len(api.made) < 12
    assert statuses[-1] == 503
    assert "full" in made.body["message"]


@pytest.mark.parametrize(
    "path",
    ["/v1/", "/v1/nothing", "/v1/envs/x", "/v1/envs/x/action_space/contains/", "/v1/envs/x/action_space/contains/1/2"],
)
def test_other_paths_are_404(api: Api, path: str) -> None:
    """In JSON, because some clients look at nothing else."""
    refused = api.ask("GET", path)
    assert (refused.status, list(refused.body)) == (404, ["message"])


def test_other_methods_are_405(api: Api) -> None:
    """With those that there are."""
    refused = api.ask("PUT", "/v1/envs/", {})
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, POST, HEAD, OPTIONS")
    told = api.ask("OPTIONS", "/v1/envs/")
    assert (told.status, told.headers["Allow"]) == (200, "GET, POST, HEAD, OPTIONS")
    assert api.ask("HEAD", "/v1/envs/").status == 200
    assert api.ask("GET", "/v1/envs/x/step/").headers["Allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("number", ["1.5", "abc", "%5B1%5D"])
def test_only_integers_can_be_contained(api: Api, number: str) -> None:
    """Anything else is refused."""
    refused = api.ask("GET", f"{api.make('CartPole-v1')}action_space/contains/{number}")
    assert refused.status == 400
    assert "integer" in refused.body["message"]


def test_a_field_that_a_space_lacks_is_refused(api: Api) -> None:
    """Its name is in the message."""
    refused = api.post(f"{api.make('CartPole-v1')}observation_space/contains", {"n": 2})
    assert refused.status == 400
    assert "'n'" in refused.body["message"]


def test_bounds_are_left_to_the_environment(api: Api) -> None:
    """Many agents rely on it to clip."""
    assert api.post(f"{api.played('Pendulum-v0')}step/", {"action": [5.0]}).status == 200
    assert api.post(f"{api.played('Act/Box-v0')}step/", {"action": [[9, 0], [0, 0]]}).status == 200


def test_steps_go_on_after_the_end_of_an_episode(api: Api) -> None:
    """As they did in Gym."""
    path = api.played("Truncated-v0")
    done = [api.post(f"{path}step/", {"action": 0}).body["done"] for _ in range(5)]
    assert done[:3] == [False, False, True]


def recorded(directory: Path, ending: str) -> list[Path]:
    """Return the files of a monitor that have an ending."""
    return sorted(directory.glob(f"openaigym.*{ending}"))


def test_a_monitor_records_episodes(api: Api, server: ServerProcess, directory: Path) -> None:
    """Until it is closed; the instance stays."""
    path = api.make("Truncated-v0")
    name = str(directory.relative_to(server.directory))
    started = api.post(f"{path}monitor/start/", {"directory": name})
    assert (started.status, started.text) == (200, "{}")
    for _ in range(2):
        api.post(f"{path}reset/")
        for _ in range(3):
            api.post(f"{path}step/", {"action": 0})
    assert api.post(f"{path}monitor/close/").text == "{}"
    (statistics,) = recorded(directory, ".stats.json")
    assert json.loads(statistics.read_text())["episode_lengths"] == [3, 3]
    assert api.post(f"{path}monitor/close/").status == 200
    assert api.post(f"{path}reset/").status == 200
    assert api.post(f"{path}step/", {"action": 0}).status == 200
    assert api.post(f"{path}monitor/start/", {"directory": name}).status == 400
    assert api.post(f"{path}monitor/start/", {"directory": name, "force": "false"}).status == 400
    assert api.post(f"{path}monitor/start/", {"directory": name, "resume": "true"}).status == 200
    assert recorded(directory, ".stats.json")[0] == statistics
    assert api.post(f"{path}monitor/start/", {"directory": name, "resume": True}).status == 400


def test_a_monitor_records_videos_of_some_episodes(api: Api, server: ServerProcess, directory: Path) -> None:
    """Of every second one, here."""
    path = api.make("Episodes-v0")
    name = str(directory.relative_to(server.directory))
    assert api.post(f"{path}monitor/start/", {"directory": name, "video_callable": 2}).status == 200
    for _ in range(4):
        api.post(f"{path}reset/")
        for _ in range(10):
            api.post(f"{path}step/", {"action": 0})
    api.post(f"{path}monitor/close/")
    assert len(recorded(directory, ".mp4")) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"directory": "/etc"},
        {"directory": "../.."},
        {"directory": 7},
        {"directory": "tmp", "video_callable": -1},
        {"directory": "tmp", "video_callable": "x"},
        {"directory": "tmp", "video_callable": 1.5},
    ],
)
def test_a_monitor_is_refused(api: Api, fields: dict[str, Any]) -> None:
    """Outside its root, and where a field is none that it takes."""
    refused = api.post(f"{api.make('CartPole-v1')}monitor/start/", fields)
    assert (refused.status, list(refused.body)) == (400, ["message"])


def test_nothing_is_uploaded(api: Api) -> None:
    """There is no place to upload to any more."""
    refused = api.post("/v1/upload/", {"training_dir": "tmp", "api_key": "key", "algorithm_id": None})
    assert refused.status == 400
    assert "2017" in refused.body["message"]


def test_clients_do_not_shut_the_server_down(api: Api) -> None:
    """Others use it, too."""
    refused = api.post("/v1/shutdown/")
    assert refused.status == 403
    assert "--rest-shutdown" in refused.body["message"]


def test_another_site_cannot_play(api: Api) -> None:
    """Nor reach the server by another name."""
    assert api.post("/v1/envs/", {"env_id": "CartPole-v1"}, Origin="http://evil.example").status == 403
    assert api.post("/v1/envs/", {"env_id": "CartPole-v1"}, Host="evil.example").status == 421


def test_steps_sent_together_are_taken_in_turn(server: ServerProcess, api: Api) -> None:
    """By several connections, or pipelined in one."""
    path = api.played("Episodes-v0")
    others = [Api(server.port) for _ in range(3)]
    for other in others:
        other.connection.request("POST", f"{path}step/", '{"action":0}', JSON)
    rewards = [json.loads(other.connection.getresponse().read())["reward"] for other in others]
    assert sorted(rewards) == [1.0, 2.0, 3.0]
    for other in others:
        other.connection.close()


#: A server whose clients may shut it down.
BRIEF = ("--idle-timeout", "0.5", "--max-sessions", "1", "--queue", "0", "--warm", "1", "--rest-shutdown")


def test_an_instance_that_is_idle_is_closed(start_once: Start) -> None:
    """Few clients close theirs; its id is then unknown, and its place is free."""
    running = start_once(*BRIEF)
    api = Api(running.port)
    path = api.played("CartPole-v1")
    running.wait_for("ended: idle for more than 0.5 s")
    refused = api.post(f"{path}step/", {"action": 0})
    assert (refused.status, "unknown" in refused.body["message"]) == (400, True)
    assert api.make("CartPole-v1") != path
    api.connection.close()


def test_a_server_may_let_clients_shut_it_down(start_once: Start) -> None:
    """If its operator has said so. This is the last test with that server."""
    running = start_once(*BRIEF)
    api = Api(running.port)
    api.connection.request("POST", "/v1/shutdown/")
    assert api.connection.getresponse().read() == b"Server shutting down"
    running.wait_for("Server Shut Down")
    api.connection.close()

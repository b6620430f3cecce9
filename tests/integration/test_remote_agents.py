"""Remote multi-agent environments are PettingZoo's: they pass its tests, and are what the same ones are here."""

from __future__ import annotations

import copy
import importlib
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, get_args

import numpy as np
import pettingzoo
import pytest
from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, render_test, seed_test
from pettingzoo.test.state_test import state_test
from pettingzoo.utils.conversions import aec_to_parallel, parallel_to_aec, turn_based_aec_to_parallel
from pettingzoo.utils.env import AECEnv, ParallelEnv
from pettingzoo.utils.wrappers import OrderEnforcingWrapper, TerminateIllegalWrapper

from gymtwist.client import (
    EnvironmentFailed,
    IllegalAction,
    RequestRefused,
    ResetNeeded,
    connect_aec,
    connect_parallel,
    envs,
)
from gymtwist.protocol.agent_messages import ResetAgents
from gymtwist.protocol.messages import AgentApi
from tests.support.client_equivalence import assert_same
from tests.support.multi_agent_environments import DUEL, EXAMPLES, MODULE, REWARDS, SERVED, WRONG, Duel, Objectives
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

OPTIONS = SERVED
CLIENT_MEASURED = True  # test_aio_agents.py measures what the server does with agents
#: Environments whose agents act at once, and those whose agents take turns.
AT_ONCE = ["mpe2:simple_tag_v3", "mpe2:simple_world_comm_v3", "butterfly/cooperative_pong_v6"]
IN_TURN = ["classic/tictactoe_v3", "classic/connect_four_v3", "classic/rps_v2"]
GENERATED = f"{EXAMPLES}:generated_agents_parallel_v0", f"{EXAMPLES}:generated_agents_env_v0"

pytestmark = pytest.mark.filterwarnings("ignore")

Connect = Callable[..., Any]


def not_daily(environments: list[str]) -> list[Any]:
    """Leave further environments of a kind to `make sweep`."""
    return [pytest.param(each, marks=pytest.mark.sweep) for each in environments]


@pytest.fixture(params=["int32", "netstring"])
def protocol(request: pytest.FixtureRequest) -> str:
    """One of the two protocols."""
    return str(request.param)


def connecting(connect: Callable[..., Any], server: ServerProcess) -> Iterator[Connect]:
    """Make environments, and close them."""
    with ExitStack() as stack:

        def run(environment: str, **arguments: Any) -> Any:
            arguments = {"timeout": PATIENCE, **arguments}
            return stack.enter_context(closing(connect(("127.0.0.1", server.port), environment, **arguments)))

        yield run


@pytest.fixture
def parallel(module_server: ServerProcess) -> Iterator[Connect]:
    """Connect to an environment whose agents act at once."""
    yield from connecting(connect_parallel, module_server)


@pytest.fixture
def aec(module_server: ServerProcess) -> Iterator[Connect]:
    """Connect to an environment whose agents take turns."""
    yield from connecting(connect_aec, module_server)


# PettingZoo's own tests


@pytest.mark.parametrize("environment", [AT_ONCE[0], GENERATED[0], DUEL, *not_daily(AT_ONCE[1:])])
def test_pettingzoos_tests_of_agents_that_act_at_once(parallel: Connect, environment: str) -> None:
    """As for a local one."""
    parallel_api_test(parallel(environment), 30)
    parallel_seed_test(lambda: parallel(environment), 30)


@pytest.mark.parametrize("environment", [IN_TURN[0], GENERATED[1], DUEL, *not_daily([*IN_TURN[1:], AT_ONCE[0]])])
def test_pettingzoos_tests_of_agents_that_take_turns(aec: Connect, environment: str) -> None:
    """As for a local one."""
    api_test(aec(environment), 30)
    seed_test(lambda: aec(environment), 30)


@pytest.mark.parametrize("environment", [*not_daily(AT_ONCE[:2]), AT_ONCE[2]])
def test_pettingzoos_tests_of_both(parallel: Connect, aec: Connect, environment: str) -> None:
    """Cycles, and states."""

    class Module:
        """What PettingZoo's modules have."""

        @staticmethod
        def env(**kwargs: Any) -> Any:
            return aec(environment, **kwargs)

        @staticmethod
        def parallel_env(**kwargs: Any) -> Any:
            return parallel(environment, **kwargs)

    max_cycles_test(Module)
    state_test(aec(environment), parallel(environment), 3)


def test_pettingzoos_tests_pass_in_json(parallel: Connect, aec: Connect) -> None:
    """The other encoding, too."""
    parallel_api_test(parallel(AT_ONCE[0], protocol="netstring"), 30)
    api_test(aec(IN_TURN[0], protocol="netstring"), 30)


@pytest.mark.parametrize("protocol", ["int32", "netstring"])
def test_pettingzoos_tests_pass_over_websocket(module_server: ServerProcess, protocol: Any) -> None:
    """In either encoding."""
    address = f"ws://127.0.0.1:{module_server.port}"
    with closing(connect_parallel(address, IN_TURN[2], protocol=protocol)) as environment:
        parallel_api_test(environment, 10)


# The same as here


def play(environment: Any, seed: int) -> Iterator[Any]:
    """Play an episode of agents that act at once; yield everything."""
    yield environment.reset(seed=seed)
    for agent in environment.possible_agents:
        environment.action_space(agent).seed(seed)
    while environment.agents:
        actions = {agent: environment.action_space(agent).sample() for agent in environment.agents}
        actions = {agent: 1 if agent == "first_0" else action for agent, action in actions.items()}
        yield environment.step(actions), environment.agents, environment.state()


@pytest.mark.parametrize("reward", REWARDS)
def test_an_episode_is_the_local_one(parallel: Connect, protocol: str, reward: str) -> None:
    """With the types of rewards, dtypes of observations, and flags that are Python's booleans."""
    theirs = parallel(DUEL, reward=reward, protocol=protocol)
    for given, expected in zip(play(theirs, 3), play(Duel(reward), 3), strict=True):
        if protocol == "netstring" and len(given) == 2:  # JSON has no arrays in infos
            given, expected = given[0], expected[0]
        if len(given) == 3:
            flags = [flag for each in given[0][2:4] for flag in each.values()]
            assert {type(flag) for flag in flags} == {bool}
            (ours, local) = (each[0][1].get("first_0") for each in (given, expected))
            assert type(ours) is type(local)
            assert getattr(ours, "dtype", None) == getattr(local, "dtype", None)
        assert_same(given, expected)


@pytest.mark.parametrize("reward", ["int", "float32", "vector"])
def test_a_turn_is_the_local_one(aec: Connect, protocol: str, reward: str) -> None:
    """All that PettingZoo's methods read, of all agents, turn by turn."""
    theirs, ours = aec(DUEL, reward=reward, protocol=protocol), parallel_to_aec(Duel(reward))
    for environment in (theirs, ours):
        environment.reset(seed=3)
    names = ("agents", "agent_selection", "terminations", "truncations", "rewards", "_cumulative_rewards")
    while ours.agents:
        for name in names:
            assert_same(getattr(theirs, name), getattr(ours, name))
        given, expected = theirs.last(), ours.last()
        assert_same(given[:4], expected[:4])
        assert type(given[1]) is type(expected[1])
        for agent in ours.agents:
            assert_same(theirs.observe(agent), ours.observe(agent))
        over = given[2] or given[3]
        action = None if over else 1 if ours.agent_selection == "first_0" else np.zeros(2, np.float32)
        theirs.step(action)
        ours.step(action)
    assert theirs.agents == []


@pytest.mark.parametrize("environment", IN_TURN)
def test_games_are_the_local_ones(aec: Connect, environment: str) -> None:
    """Those of PettingZoo, played by their masks."""
    theirs, ours = aec(environment), pettingzoo.make("aec", environment)
    for each in (theirs, ours):
        each.reset(seed=5)
    for agent in ours.agent_iter(40):
        given, expected = theirs.last(), ours.last()
        assert theirs.agent_selection == agent
        assert given[1:] == expected[1:]
        observation = expected[0]
        np.testing.assert_equal(given[0], observation)
        mask = observation["action_mask"] if isinstance(observation, dict) else None
        action = None if expected[2] or expected[3] else ours.action_space(agent).sample(mask)
        theirs.step(action)
        ours.step(action)
    assert theirs.agents == ours.agents


# What PettingZoo's classes say


def test_they_are_pettingzoos(parallel: Connect, aec: Connect) -> None:
    """By class, name and metadata; what comes with a reset is not there before it."""
    at_once, in_turn = parallel(AT_ONCE[0]), aec(IN_TURN[0])
    assert isinstance(at_once, ParallelEnv)
    assert isinstance(OrderEnforcingWrapper(in_turn).unwrapped, AECEnv)
    assert str(at_once) == "simple_tag_v3"
    assert at_once.metadata["is_parallelizable"] is True
    assert in_turn.metadata["is_parallelizable"] is False
    assert in_turn.unwrapped is in_turn
    assert in_turn.render_mode is None
    assert at_once.max_num_agents == 4
    for name in ("agents", "agent_selection", "rewards", "terminations", "truncations", "infos", "num_agents"):
        assert not hasattr(in_turn, name)
        assert name == "num_agents" or name not in vars(at_once)
    assert not hasattr(in_turn, "state_space")
    in_turn.reset()
    with pytest.raises((NotImplementedError, TypeError)):
        in_turn.state()


def test_agents_that_are_not_known_before(parallel: Connect) -> None:
    """There is no list of them; their spaces can change at a reset, and are then other objects."""
    environment = parallel(GENERATED[0])
    assert not hasattr(environment, "possible_agents")
    sizes = set()
    for seed in range(6):
        environment.reset(seed=seed)
        for agent in environment.agents:
            space = environment.observation_space(agent)
            assert space is environment.observation_space(agent)
            sizes.add((agent, space.shape))
    assert len({agent for agent, _ in sizes}) < len(sizes)
    with pytest.raises(KeyError):
        environment.observation_space("nobody_0")


def test_spaces_stay_the_same_objects(parallel: Connect) -> None:
    """Also over a reset: a user may have seeded them. Those of different agents differ."""
    environment = parallel(DUEL)
    before = environment.action_space("first_0")
    environment.reset(seed=1)
    assert environment.action_space("first_0") is before
    assert environment.action_space("second_0") != before


def test_spaces_of_rewards(parallel: Connect, protocol: str) -> None:
    """Where rewards are arrays; other environments have no such method."""
    environment = parallel(f"{MODULE}:Objectives", protocol=protocol)
    assert environment.reward_space("first_0") == Objectives().reward_space("first_0")
    assert not hasattr(parallel(DUEL), "reward_space")


def test_the_end_of_an_episode(parallel: Connect, aec: Connect) -> None:
    """Without agents, a step has five empty dictionaries, or does nothing."""
    environment = parallel(DUEL)
    first = list(play(environment, 1))[-1]
    results = environment.step({})
    assert results == ({}, {}, {}, {}, {})
    results[0]["__all__"] = True
    assert environment.step({})[0] == {}
    assert "first_0" in first[0][0]
    assert environment.reset()[0].keys() == {"first_0", "second_0"}
    turns = aec(DUEL)
    turns.reset()
    for agent in turns.agent_iter():
        over = turns.terminations[agent] or turns.truncations[agent]
        turns.step(None if over else turns.action_space(agent).sample())
    assert turns.agents == []
    assert turns.step(None) is None
    with pytest.raises(KeyError):
        turns.last()


def test_actions_of_agents_that_are_not_there_are_ignored(parallel: Connect) -> None:
    """Those of the others must be there, as the environment says."""
    environment = parallel(DUEL)
    environment.reset()
    second = np.zeros(2, np.float32)
    infos = environment.step({"first_0": 0, "second_0": second, "third_0": 5})[4]
    assert infos["first_0"]["actions"] == ["first_0", "second_0"]
    with pytest.raises(KeyError):
        environment.step({"first_0": 0})
    assert environment.step({"first_0": 0, "second_0": second})[4]["first_0"]["step"] == 2


@pytest.mark.parametrize("action", [np.int64(1), np.int32(1), 1, np.array(1)])
def test_actions_of_several_types(aec: Connect, action: Any) -> None:
    """Integers of all kinds."""
    environment = aec(IN_TURN[1])
    environment.reset()
    environment.step(action)
    assert environment.agent_selection == "player_1"


def test_errors_are_those_of_the_environment(parallel: Connect, aec: Connect) -> None:
    """By class; the episode goes on, as it does here."""
    environment = parallel(DUEL, forbidden=2)
    second = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="no such door") as failed:
        environment.reset(options={"fail": True})
    assert isinstance(failed.value, EnvironmentFailed)
    environment.reset(options={"options": 1})
    with pytest.raises(AssertionError, match="against the rules"):
        environment.step({"first_0": 2, "second_0": second})
    assert environment.step({"first_0": 1, "second_0": second})[4]["first_0"]["step"] == 1
    for wrong in (7, 0.5, "x", np.array([1])):
        with pytest.raises(AssertionError) as refused:
            environment.step({"first_0": wrong, "second_0": second})
        assert isinstance(refused.value, (IllegalAction, ValueError))
    game = aec(IN_TURN[0])
    game.reset()
    with pytest.raises(ValueError, match="nobody"):
        game.observe("nobody")
    with pytest.raises((EnvironmentFailed, RequestRefused)):
        game.step("x")


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_results_are_faults_of_the_environment(parallel: Connect, wrong: str) -> None:
    """The error says what is wrong, and the session goes on."""
    environment = parallel(f"{MODULE}:Wrong", wrong=wrong)
    environment.reset()
    with pytest.raises(EnvironmentFailed, match=wrong):
        environment.step({"first_0": 0, "second_0": np.zeros(2, np.float32)})
    assert environment.reset()[0].keys() == {"first_0", "second_0"}


def test_after_an_interrupted_request(parallel: Connect, aec: Connect) -> None:
    """It was carried out; whose turn it is, who is there, and with which spaces, is what its reply says."""
    game = aec(IN_TURN[0])
    game.reset()
    game._session.send(game._session.step_request({"player_1": 4}))
    assert game.observe("player_2")["action_mask"].sum() == 8
    assert game.agent_selection == "player_2"
    game.step(0)
    duel = parallel(DUEL)
    duel.reset()
    for _ in range(2):
        duel._session.send(duel._session.step_request({"first_0": 1, "second_0": np.zeros(2, np.float32)}))
    assert duel.step({"first_0": 1})[0].keys() == {"first_0"}
    generated = parallel(GENERATED[0])
    for seed in range(6):
        generated._session.send(ResetAgents(seed))
        for agent, observation in generated.reset(seed=seed)[0].items():
            assert generated.observation_space(agent).contains(observation)


def test_turns_after_an_interrupted_one(aec: Connect) -> None:
    """A loop over the turns goes on with whoever is next, and so does what is asked of the last one."""
    game = aec(IN_TURN[0])
    game.reset()
    game._session.send(game._session.step_request({"player_1": 4}))
    assert list(game.agent_iter(1)) == ["player_2"]
    game._session.send(game._session.step_request({"player_2": 0}))
    observation, *_ = game.last()
    assert game.agent_selection == "player_1"
    assert observation["action_mask"].tolist() == [0, 1, 1, 1, 0, 1, 1, 1, 1]


def test_spaces_of_an_interrupted_reset_are_made_once(aec: Connect) -> None:
    """Whoever has seeded one that the reply has brought keeps it."""
    turns = aec(GENERATED[1])
    turns.reset(seed=1)
    turns._session.send(ResetAgents(2))
    with pytest.raises(AttributeError):
        turns.nothing  # noqa: B018  # the reply to the reset comes first
    session = turns._session
    before = {agent: session.known_agent(agent) for agent in session._agents}
    turns.last()
    assert turns.agent_selection in before
    assert all(turns.action_space(agent) is each.actions.space for agent, each in before.items())


def test_only_turns_are_observed(parallel: Connect) -> None:
    """Agents that act at once get their observations with each step."""
    environment = parallel(DUEL)
    environment.reset()
    with pytest.raises(RequestRefused, match='for the api "aec"'):
        environment._session.observe(["first_0"])


def test_a_step_before_the_reset_is_refused(parallel: Connect, aec: Connect) -> None:
    """With the remedy."""
    for environment, action in ((parallel(DUEL), {}), (aec(IN_TURN[0]), 0)):
        with pytest.raises(RequestRefused, match="reset"):
            environment.step(action)
    with pytest.raises(ResetNeeded, match="reset before observe"):
        aec(IN_TURN[0]).observe("player_0")


def test_a_process_that_dies_is_replaced_at_the_next_reset(parallel: Connect) -> None:
    """The agents and their spaces are the same ones."""
    environment = parallel(DUEL)
    environment.reset(seed=1)
    with pytest.raises(EnvironmentFailed):
        environment.crash()
    assert set(environment.reset(seed=1)[0]) == set(environment.possible_agents)


def test_rendering(parallel: Connect, aec: Connect) -> None:
    """Arrays, text, and nothing without a mode."""
    for mode, expected in (("rgb_array", np.zeros((4, 5, 3), np.uint8)), ("ansi", "step 0"), (None, None)):
        for connected in (parallel, aec):
            environment = connected(DUEL, render_mode=mode)
            environment.reset()
            assert_same(environment.render(), expected)


def test_a_window_is_on_this_side(aec: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server sends frames; the metadata has the mode, as PettingZoo's test of rendering expects."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pytest.importorskip("pygame")
    assert "human" in aec(IN_TURN[1], render_mode="human").metadata["render_modes"]
    render_test(lambda render_mode: aec(AT_ONCE[0], render_mode=render_mode))


def test_attributes_of_the_remote_environment(parallel: Connect, aec: Connect) -> None:
    """Can be read; what is set here stays here."""
    environment = parallel(DUEL)
    assert environment.level == 1
    assert aec(DUEL).level == 1
    environment.max_cycles = 7
    assert environment.max_cycles == 7
    assert not hasattr(environment, "seed")
    assert not hasattr(environment, "_anything")


def test_random_numbers_for_wrappers(parallel: Connect) -> None:
    """Follow the seed of the reset."""
    environment, drawn = parallel(DUEL), []
    for _ in range(2):
        environment.reset(seed=4)
        drawn.append(environment.np_random.random())
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_are_sessions_of_their_own(parallel: Connect, aec: Connect, copied: Callable[[Any], Any]) -> None:
    """They begin before a reset."""
    for environment in (parallel(DUEL), aec(IN_TURN[0])):
        environment.reset(seed=1)
        with closing(copied(environment)) as other:
            assert not hasattr(other, "agents")
            other.reset(seed=1)
            assert other.agents == environment.agents


def test_pettingzoos_wrappers_and_conversions(parallel: Connect, aec: Connect) -> None:
    """Around a remote environment on this side."""
    game = TerminateIllegalWrapper(aec(IN_TURN[0]), illegal_reward=-1)
    game.reset()
    game.step(0)
    game.step(0)  # that place is taken
    assert all(game.terminations.values())
    assert game.rewards["player_2"] == -1
    for agent in game.agent_iter():
        assert game.terminations[agent]
        game.step(None)
    game.reset()
    assert len(game.agents) == 2
    parallel_api_test(aec_to_parallel(aec(AT_ONCE[0])), 10)
    parallel_api_test(turn_based_aec_to_parallel(aec(IN_TURN[0])), 10)
    api_test(parallel_to_aec(parallel(AT_ONCE[0])), 10)


@pytest.mark.parametrize("wrapper", ["black_death_v3", "frame_stack_v1", "frame_skip_v0", "concat_vec_envs_v1"])
def test_supersuits_wrappers(parallel: Connect, wrapper: str) -> None:
    """Around a remote environment, they do what they do around a local one."""
    supersuit = pytest.importorskip("supersuit")
    arguments = {"black_death_v3": (), "frame_stack_v1": (3,), "frame_skip_v0": (2,), "concat_vec_envs_v1": (2,)}[
        wrapper
    ]
    local = importlib.import_module(AT_ONCE[1].replace("mpe2:", "mpe2.")).parallel_env()
    if wrapper == "concat_vec_envs_v1":
        local = importlib.import_module("mpe2.simple_spread_v3").parallel_env()
        theirs, ours = (
            supersuit.concat_vec_envs_v1(supersuit.pettingzoo_env_to_vec_env_v1(each), *arguments)
            for each in (parallel("mpe2:simple_spread_v3"), local)
        )
        with closing(theirs), closing(ours):
            assert_same(theirs.reset(seed=5), ours.reset(seed=5))
            ours.action_space.seed(5)
            for _ in range(30):
                actions = np.array([ours.action_space.sample() for _ in range(ours.num_envs)])
                assert_same(theirs.step(actions), ours.step(actions))
        return
    theirs, ours = (getattr(supersuit, wrapper)(each, *arguments) for each in (parallel(AT_ONCE[1]), local))
    assert_same(theirs.reset(seed=5), ours.reset(seed=5))
    while ours.agents:
        chosen = {agent: number % 5 for number, agent in enumerate(ours.agents)}
        assert_same(theirs.step(chosen), ours.step(chosen))
    assert theirs.agents == []


def test_the_list_of_environments(module_server: ServerProcess) -> None:
    """Those of PettingZoo's registry, by what their agents do."""
    address = ("127.0.0.1", module_server.port)
    found = {api: [each.id for each in envs(address, api=api)] for api in get_args(AgentApi)}
    assert "classic/chess-v6" in found["aec"]
    assert "classic/chess-v6" not in found["parallel"]
    assert "classic/rps-v2" in found["parallel"]
    assert not [each for each in envs(address) if each.id.startswith("classic/")]


# What is refused


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ("butterfly/pistonbal_v6", "pistonball"),
        ("os:system", "does not allow"),
        (f"{MODULE}:unrelated", "no module unrelated"),
        (f"{MODULE}:nothing", "no module nothing"),
        (f"{MODULE}:Nameless", "must be strings"),
    ],
)
def test_what_is_no_environment(parallel: Connect, environment: str, words: str) -> None:
    """The error says what it is."""
    with pytest.raises((RequestRefused, EnvironmentFailed), match=words):
        parallel(environment)


def test_a_game_of_turns_is_not_played_at_once(parallel: Connect) -> None:
    """The error has the remedy."""
    with pytest.raises(RequestRefused, match='ask for the api "aec"'):
        parallel(IN_TURN[0])


def test_one_agents_environment_is_no_multi_agent_one(module_server: ServerProcess) -> None:
    """Nor the other way round: each has its own requests."""
    with pytest.raises(RequestRefused, match="unknown multi-agent environment"):
        connect_parallel(("127.0.0.1", module_server.port), "CartPole-v1")


def test_without_pettingzoo_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the machine that lacks it."""
    monkeypatch.setitem(__import__("sys").modules, "pettingzoo", None)
    with pytest.raises(ImportError, match=r"on this machine.*pettingzoo"):
        connect_aec("localhost:1", "classic/chess_v6")

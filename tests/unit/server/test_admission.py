"""Admission: which environments may be had, who has to wait for room, and how many may say nothing."""

from __future__ import annotations

import re

import pytest

from gymtwist.errors import EnvironmentRefused, GymtwistError, NodeMissing, QuotaExceeded, ServerFull, ServerStopping
from gymtwist.server.admission import MOST_PASSED, Admission, ConnectionLimit, Droppable, Waiter
from gymtwist.server.identities import EVERYBODY, Identity
from gymtwist.worker.access_policy import AllowList

# Which environments


@pytest.mark.parametrize("environment", ["", "CartPole-v1", "ALE/Pong-v5", "gym:CartPole-v1", "gymnasium:CartPole-v1"])
def test_without_patterns_every_registered_environment_is_allowed(environment: str) -> None:
    """The libraries' prefixes import nothing."""
    AllowList().check(environment)


@pytest.mark.parametrize("environment", ["os:system-v0", "gym:os:system-v0", "gymnasium:a.b:C-v0", "gym:gym:X-v0"])
@pytest.mark.parametrize("patterns", [[], ["*"], ["gym:*"], ["gymnasium:*"], ["*system*", "CartPole-v1"]])
def test_an_id_that_imports_a_module_is_refused(environment: str, patterns: list[str]) -> None:
    """Unless a pattern names a module: a library's prefix is not one."""
    with pytest.raises(EnvironmentRefused, match="imports a module"):
        AllowList(patterns).check(environment)


@pytest.mark.parametrize("environment", ["mine:Env-v0", "gym:mine:Env-v0", "gymnasium:mine:Env-v0"])
def test_a_pattern_may_name_a_module(environment: str) -> None:
    """With or without the library before it."""
    AllowList(["mine:*"]).check(environment)
    with pytest.raises(EnvironmentRefused, match="--allow 'other:Env-v0'"):
        AllowList(["mine:*"]).check("other:Env-v0")


def test_a_pattern_may_name_a_module_of_one_library() -> None:
    """It allows that one alone."""
    AllowList(["gym:mine:*"]).check("gym:mine:Env-v0")
    with pytest.raises(EnvironmentRefused):
        AllowList(["gym:mine:*"]).check("mine:Env-v0")


def test_patterns_are_globs() -> None:
    """Case matters, and any of them will do."""
    allowed = AllowList(["ALE/*", "CartPole-v?"])
    allowed.check("ALE/Pong-v5")
    allowed.check("CartPole-v1")
    allowed.check("gymnasium:CartPole-v1")
    for refused in ("ale/Pong-v5", "CartPole-v10", "Pong-v4"):
        with pytest.raises(EnvironmentRefused):
            allowed.check(refused)


def test_a_refusal_names_the_allowed_environments() -> None:
    """A client can choose another one."""
    with pytest.raises(EnvironmentRefused, match=r'"Pong-v4" is not allowed .* it allows ALE/\*, CartPole-v1'):
        AllowList(["ALE/*", "CartPole-v1"]).check("Pong-v4")


@pytest.mark.parametrize(
    ("pattern", "environment", "meant"),
    [
        ("CartPole*", "CartPole", "CartPole-v1"),
        ("phys2d/*", "CartPoleJax-v0", "phys2d/CartPole-v0"),
        ("mine:*", "mine:Old-v0", "New-v0"),
        ("gym:mine:*", "gym:mine:Old-v0", "New-v0"),
        ("New-v0", "gym:Old-v0", "New-v0"),
    ],
)
def test_what_an_id_stands_for_is_allowed_by_a_pattern(pattern: str, environment: str, meant: str) -> None:
    """An id without a version, or one that was given up, is a way to ask for another."""
    AllowList([pattern]).check_meant(environment, meant)
    with pytest.raises(EnvironmentRefused, match=rf'"{environment}" means "Other-v3", .* it allows Else\*'):
        AllowList(["Else*"]).check_meant(environment, "Other-v3")
    AllowList([]).check_meant(environment.rpartition(":")[2], meant)


def test_a_connection_without_an_environment_is_always_allowed() -> None:
    """There is nothing to allow."""
    AllowList(["CartPole-v1"]).check("")


# Who waits


class Client:
    """A connection that notes what it is told."""

    def __init__(self, identity: Identity = EVERYBODY, environment: str = "CartPole-v1") -> None:
        """Have been told nothing."""
        self.identity = identity
        self.environment = environment
        self.told: list[object] = []

    def queued(self) -> None:
        """Note it."""
        self.told.append("queued")

    def moved(self, place: int) -> None:
        """Do not note it: only one test is about places."""

    def admitted(self) -> None:
        """Note it."""
        self.told.append("admitted")

    def refused(self, error: GymtwistError) -> None:
        """Note it."""
        self.told.append(error)


def clients(count: int, identity: Identity = EVERYBODY) -> list[Client]:
    """Make clients; they are waiters."""
    made: list[Waiter] = [Client(identity) for _ in range(count)]
    return [each for each in made if isinstance(each, Client)]


def test_a_connection_enters_while_there_is_room() -> None:
    """At once."""
    admission, (one, two, three) = Admission(2, 1), clients(3)
    for client in (one, two, three):
        admission.enter(client)
    assert [client.told for client in (one, two, three)] == [["admitted"], ["admitted"], ["queued"]]


def test_first_come_first_served() -> None:
    """Each end of a session admits one of those who wait."""
    admission, everybody = Admission(1, 2), clients(3)
    for client in everybody:
        admission.enter(client)
    admission.session_ended(everybody[0])
    assert [client.told for client in everybody] == [["admitted"], ["queued", "admitted"], ["queued"]]
    admission.session_ended(everybody[1])
    assert everybody[2].told == ["queued", "admitted"]


def test_places_are_told_whenever_they_change() -> None:
    """To those who wait: when they come, and when one before them is admitted or leaves."""
    told: list[tuple[int, int]] = []

    class Placed(Client):
        def moved(self, place: int) -> None:
            told.append((everybody.index(self), place))

    admission, everybody = Admission(1, 3), [Placed() for _ in range(4)]
    for client in everybody:
        admission.enter(client)
    assert told == [(1, 1), (2, 2), (3, 3)]
    admission.session_ended(everybody[0])
    assert told[3:] == [(2, 1), (3, 2)]
    admission.leave_queue(everybody[2])
    assert told[5:] == [(3, 1)]


class Brief(Client):
    """A connection whose session ends as soon as it begins."""

    def __init__(self, admission: Admission) -> None:
        """Knows where it is admitted."""
        super().__init__()
        self.admission = admission

    def admitted(self) -> None:
        """End."""
        super().admitted()
        self.admission.session_ended(self)


def test_a_long_queue_of_brief_sessions() -> None:
    """They follow one another, not one within the other: Python's stack is not that deep."""
    admission = Admission(1, 2000)
    first = clients(1)[0]
    admission.enter(first)
    brief = [Brief(admission) for _ in range(2000)]
    for each in brief:
        admission.enter(each)
    admission.session_ended(first)
    assert all(each.told == ["queued", "admitted"] for each in brief)
    newcomer = clients(1)[0]
    admission.enter(newcomer)
    assert newcomer.told == ["admitted"]


def test_a_free_slot_without_a_queue_stays_free() -> None:
    """For the next one to come."""
    admission, (one, two) = Admission(1, 0), clients(2)
    admission.enter(one)
    admission.session_ended(one)
    admission.enter(two)
    assert two.told == ["admitted"]


def test_a_full_queue_is_an_error() -> None:
    """The message has the figures and the option."""
    admission, (one, two, three) = Admission(1, 1), clients(3)
    admission.enter(one)
    admission.enter(two)
    admission.enter(three)
    (error,) = three.told
    assert isinstance(error, ServerFull)
    assert re.search(r"is full: 1 of 1 sessions run and 1 of 1 places in .*; .*--max-sessions", str(error))


class Rooms:
    """Room for some sessions of each environment; nodes can only have those that it has a number for."""

    def __init__(self, **room: int) -> None:
        """Have this much room."""
        self.room = room

    def attend(self, room_changed: object, queued: object) -> None:
        """Tell nobody: the test does."""

    def lack(self, environment: str) -> str:
        """Say whether there is no room."""
        return "" if self.room[environment] else f"no node has room for {environment}"

    def why_never(self, environment: str) -> str:
        """Say whether there never is."""
        return "" if environment in self.room else f"no node can have {environment}"

    def hold(self, environment: str | None) -> bool:
        """Hold nothing."""
        return False


def test_who_waits_for_a_node_lets_others_pass() -> None:
    """Each is admitted when there is room for its own session."""
    admission, rooms = Admission(10, 2), Rooms(small=1, large=0)
    admission.ask(rooms)
    large, small = Client(environment="large"), Client(environment="small")
    for each in (large, small):
        admission.enter(each)
    assert (large.told, small.told) == (["queued"], ["admitted"])
    assert admission.waiting_for == ["large"]
    rooms.room.update(small=0)
    later = [Client(environment=name) for name in ("small", "large")]
    for each in later:
        admission.enter(each)
    assert later[0].told == ["queued"]
    (error,) = later[1].told
    assert isinstance(error, ServerFull)
    assert "no node has room for large and 2 of 2 places in the queue are taken" in str(error)
    assert "more nodes" in str(error)
    rooms.room.update(small=1)
    admission.session_ended(small)
    assert (large.told, later[0].told) == (["queued"], ["queued", "admitted"])
    rooms.room.update(small=0, large=1)
    admission.admit_waiting()
    assert large.told == ["queued", "admitted"]


class HeldRooms(Rooms):
    """Room for small sessions, which all is held when it is held for a large one."""

    is_held = False

    def lack(self, environment: str) -> str:
        """Say whether there is no room that is not held."""
        return "the room is held" if environment == "small" and self.is_held else super().lack(environment)

    def hold(self, environment: str | None) -> bool:
        """Hold everything for a large session."""
        self.is_held = environment == "large"
        return self.is_held


def test_who_is_displaced_holds_no_node() -> None:
    """Those whom only that kept out are admitted, the newcomer among them."""
    admission, rooms = Admission(100, 3), HeldRooms(small=100, large=0, huge=0)
    admission.ask(rooms)
    alices = [Client(ALICE, environment) for environment in ("huge", "large")]
    for each in alices:
        admission.enter(each)
    for _ in range(MOST_PASSED):
        admission.enter(Client(BOB, "small"))
    assert rooms.is_held
    kept_out, newcomer = Client(BOB, "small"), Client(Identity(name="carol"), "small")
    for each in (kept_out, newcomer):
        admission.enter(each)
    assert isinstance(alices[1].told[-1], ServerFull)
    assert kept_out.told[-1] == newcomer.told[-1] == "admitted"


def test_who_can_never_have_a_node_is_refused() -> None:
    """At once: it would wait for ever."""
    admission = Admission(10, 2)
    admission.ask(Rooms(small=1))
    client = Client(environment="huge")
    admission.enter(client)
    (error,) = client.told
    assert isinstance(error, NodeMissing)
    assert str(error) == "no node can have huge"


def test_who_leaves_the_queue_is_not_admitted() -> None:
    """Nor does it take a place in it."""
    admission, (one, two, three) = Admission(1, 1), clients(3)
    admission.enter(one)
    admission.enter(two)
    admission.leave_queue(two)
    admission.enter(three)
    admission.session_ended(one)
    assert (two.told, three.told) == (["queued"], ["queued", "admitted"])


def test_a_stop_refuses_who_waits_and_who_comes() -> None:
    """A refused one may leave the queue again: it is not there any more."""
    admission, (one, two, three) = Admission(1, 1), clients(3)
    admission.enter(one)
    admission.enter(two)
    admission.stop()
    assert isinstance(two.told[-1], ServerStopping)
    admission.leave_queue(two)
    admission.enter(three)
    assert isinstance(three.told[0], ServerStopping)
    admission.session_ended(one)
    assert one.told == ["admitted"]


# Who shares with whom

ALICE, BOB = Identity(name="alice"), Identity(name="bob")


def test_a_free_place_goes_to_the_identity_with_the_fewest_sessions() -> None:
    """And not to the one that has asked first and most often."""
    admission = Admission(2, 10)
    running, waiting = clients(2, ALICE), clients(3, ALICE)
    for client in (*running, *waiting):
        admission.enter(client)
    late = clients(2, BOB)
    for client in late:
        admission.enter(client)
    admission.session_ended(running[0])
    assert late[0].told == ["queued", "admitted"]
    admission.session_ended(running[1])
    assert waiting[0].told == ["queued", "admitted"], "each has one now: alice's has waited longest"
    admission.session_ended(late[0])
    assert late[1].told == ["queued", "admitted"]


def test_places_are_told_in_the_order_in_which_they_come() -> None:
    """A connection of an identity that has less goes ahead of some."""
    told: list[tuple[str, int]] = []

    class Placed(Client):
        def moved(self, place: int) -> None:
            told.append((self.identity.name, place))

    admission = Admission(1, 10)
    for identity in (ALICE, ALICE, ALICE):
        admission.enter(Placed(identity))
    assert told == [("alice", 1), ("alice", 2)]
    admission.enter(Placed(BOB))
    assert told[2:] == [("bob", 1), ("alice", 2), ("alice", 3)]


def test_who_has_most_of_a_full_queue_makes_room() -> None:
    """The last connection of that identity is refused; one that would only change places with it is not."""
    admission = Admission(1, 3)
    waiting = clients(4, ALICE)
    for client in waiting:
        admission.enter(client)
    bobs = clients(3, BOB)
    for client in bobs:
        admission.enter(client)
    assert isinstance(waiting[3].told[-1], ServerFull)
    assert [client.told for client in waiting[1:3]] == [["queued"], ["queued"]]
    assert bobs[0].told == ["queued"]
    assert all(isinstance(client.told[0], ServerFull) for client in bobs[1:])


def test_an_identity_may_have_so_many_sessions_at_once() -> None:
    """Those that wait are among them; another identity does not notice."""
    limited = Identity(name="carol", max_sessions=2)
    admission = Admission(1, 10)
    one, two, three = clients(3, limited)
    for client in (one, two, three):
        admission.enter(client)
    (error,) = three.told
    assert isinstance(error, QuotaExceeded)
    assert re.search(r'"carol" may have 2 sessions at once \(max-sessions\)', str(error))
    (other,) = clients(1, BOB)
    admission.enter(other)
    assert other.told == ["queued"]
    admission.leave_queue(two)
    (four,) = clients(1, limited)
    admission.enter(four)
    assert four.told == ["queued"]


def test_an_identity_may_begin_so_many_sessions_a_minute() -> None:
    """What is refused does not count, and the message says how long to wait."""
    limited = Identity(name="carol", sessions_per_minute=2)
    now = 100.0
    admission = Admission(10, 0, lambda: now)
    for expected in ("admitted", "admitted"):
        (client,) = clients(1, limited)
        admission.enter(client)
        assert client.told == [expected]
        now += 10.0
    (refused,) = clients(1, limited)
    admission.enter(refused)
    (error,) = refused.told
    assert isinstance(error, QuotaExceeded)
    assert re.search(r"2 sessions a minute \(sessions-per-minute\): try again in 40 s", str(error))
    now += 40.0
    (client,) = clients(1, limited)
    admission.enter(client)
    assert client.told == ["admitted"]


def test_only_sessions_that_begin_count_within_a_minute() -> None:
    """An identity that finds the server full has not used up its own."""
    first, *refused, last = clients(5, Identity(name="carol", sessions_per_minute=2))
    admission = Admission(1, 0, lambda: 100.0)
    for client in (first, *refused):
        admission.enter(client)
    assert all(isinstance(each.told[0], ServerFull) for each in refused)
    admission.session_ended(first)
    admission.enter(last)
    assert last.told == ["admitted"]


# Who has no session


class Silent:
    """A connection that notes when it is dropped."""

    def __init__(self) -> None:
        """Is not dropped."""
        self.dropped = False

    def drop(self) -> None:
        """Note it."""
        self.dropped = True


def test_the_oldest_connection_is_dropped() -> None:
    """Of all, if there are too many in total, and of an address if it has too many."""
    limit = ConnectionLimit(4, 2)
    of_one, of_others = [Silent() for _ in range(4)], [Silent() for _ in range(3)]
    for each in of_one:
        limit.add(each, "one")
    assert [each.dropped for each in of_one] == [True, True, False, False]
    for number, each in enumerate(of_others):
        limit.add(each, str(number))
    assert [each.dropped for each in of_one] == [True, True, True, False]
    assert not any(each.dropped for each in of_others)


def test_a_connection_that_is_removed_makes_room() -> None:
    """It may be removed twice, and one that is added twice keeps its age."""
    limit = ConnectionLimit(2, 2)
    first, second, third, fourth = (Silent() for _ in range(4))
    limit.add(first, "a")
    limit.add(second, "a")
    limit.add(first, "a")
    limit.remove(second)
    limit.remove(second)
    limit.add(third, "a")
    assert not first.dropped
    limit.add(fourth, "a")
    assert (first.dropped, third.dropped) == (True, False)


def test_many_that_are_counted_again_when_they_are_dropped() -> None:
    """They follow one another, not one within the other: Python's stack is not that deep."""
    limit = ConnectionLimit(2000, 2000)

    class Lingering(Silent):
        def drop(self) -> None:
            if not self.dropped:
                self.dropped = True
                limit.add(self, "a")

    connections: list[Droppable] = [Lingering() for _ in range(4000)]
    for each in connections:
        limit.add(each, "a")
    assert sum(isinstance(each, Lingering) and each.dropped for each in connections) >= 2000

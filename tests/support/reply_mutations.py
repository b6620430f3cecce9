"""What a server can have wrong: bends of what goes through a proxy."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.mutating_proxy import Bend, Told

Bending = Callable[[list[Bend]], Bend]

#: Actions of CartPole that are in its space.
_LEFT = {True: 0, False: bytes(8)}


def requests(function: Callable[[Told], object]) -> Bending:
    """Makes a server that takes requests for others."""

    class Requests(Bend):
        def request(self, told: Told) -> None:
            function(told)

    return Requests


def answers(function: Callable[[Told], object], op: str = "") -> Bending:
    """Makes a server that answers wrongly, to one operation or with errors or to all."""

    class Answers(Bend):
        def answer(self, told: Told, asked: Told) -> None:
            if op in ("", told["op"]):
                function(told)

    return Answers


def writes(function: Callable[[bytes], bytes]) -> Bending:
    """Makes a server that writes wrong frames."""

    class Writes(Bend):
        def write(self, data: bytes) -> bytes:
            return function(data)

    return Writes


def without(*fields: str, op: str = "") -> Bending:
    """Makes a server that does not know some fields of requests."""
    return requests(lambda told: [told.pop(name, None) for name in fields if op in ("", told.get("op"))])


def coded(code: str) -> Bending:
    """Makes a server whose errors of one code have another."""
    return answers(lambda told: told.update(code="something-else") if told["code"] == code else None, "error")


class ReadsAreFrames(Bend):
    """Takes what it reads for whole frames."""

    chunk = 5

    def read(self, data: bytes) -> bytes:
        """Gives up, as a read is never that much."""
        self.over = True
        return b""


class FirstOfRead(Bend):
    """Takes the first frame of what it reads, and forgets the rest."""

    def read(self, data: bytes) -> bytes:
        """Finds the end of the first frame."""
        if not self.is_json:
            return data[: 4 + int.from_bytes(data[:4], "big")]
        length, _, _ = data.partition(b":")
        return data[: len(length) + int(length) + 2] if length.isdigit() else data


class Deaf(Bend):
    """Does not answer what is no frame."""

    def garbage(self, data: bytes) -> bytes:
        """Forgets it."""
        return b""


class Open(Bend):
    """Never closes a connection."""

    def __init__(self, others: list[Bend]) -> None:
        """Takes part."""
        super().__init__(others)
        self.deaf = True


class Silent(Bend):
    """Closes the connection instead of saying what is wrong."""

    def reply(self, told: Told, asked: Told, behind: int) -> list[Told]:
        """Leaves errors out."""
        self.over = told["op"] == "error"
        return [] if self.over else [told]


class Fragile(Bend):
    """Breaks everybody's connection when a client leaves in the middle of a frame."""

    def left(self, unread: bool) -> None:
        """Closes all."""
        for each in self.others:
            each.over = each.over or unread


class Lonely(Bend):
    """Serves one connection at a time."""

    def __init__(self, others: list[Bend]) -> None:
        """Closes the connection if there is another."""
        busy = any(not each.over for each in others)
        super().__init__(others)
        self.over = busy


class Swapping(Bend):
    """Answers two requests that came together in the wrong order."""

    def __init__(self, others: list[Bend]) -> None:
        """Takes part."""
        super().__init__(others)
        self.held: list[Told] = []

    def reply(self, told: Told, asked: Told, behind: int) -> list[Told]:
        """Holds a reply back where another one is to come."""
        if behind and not self.held and asked.get("op") != "make":
            self.held = [told]
            return []
        held, self.held = self.held, []
        return [told, *held]


class Tired(Bend):
    """Closes the connection after five hundred replies."""

    count = 0

    def answer(self, told: Told, asked: Told) -> None:
        """Counts."""
        self.count += 1
        self.over = self.count == 500


class Playing(Bend):
    """Gets the seed of the first reset, and not that of those in an episode."""

    begun = False

    def request(self, told: Told) -> None:
        """Leaves it out."""
        if told.get("op") == "reset" and self.begun:
            told.pop("seed", None)
        self.begun = self.begun or told.get("op") == "reset"


class Anew(Bend):
    """Makes the environment anew where there is one."""

    made = False

    def request(self, told: Told) -> None:
        """Takes the second make for a reset."""
        if told.get("op") == "make" and self.made:
            told["op"] = "reset"
        self.made = True


class Rounding(Bend):
    """Writes few digits of floats in JSON."""

    def answer(self, told: Told, asked: Told) -> None:
        """Rounds observations."""
        if self.is_json and isinstance(told.get("observation"), list):
            told["observation"] = [round(each, 3) for each in told["observation"]]


class Early(Bend):
    """Takes actions before it has checked all of them."""

    def request(self, told: Told) -> None:
        """Takes those before the last, which is wrong."""
        if isinstance(told.get("actions"), list):
            told["actions"].pop()

    def reply(self, told: Told, asked: Told, behind: int) -> list[Told]:
        """Says that the last is wrong, which is so."""
        if told["op"] != "step_many":
            return [told]
        return [{"op": "error", "code": "invalid-action", "message": "action", "fault": "request"}]


class Clipping(Bend):
    """Takes the nearest action for one that is not in the space, or any."""

    size = 8

    def request(self, told: Told) -> None:
        """Sends a right one instead."""
        if "action" in told:
            told["action"] = _LEFT[self.is_json] if self.size == 8 else [0.0] if self.is_json else bytes(4)


class ClippingFloats(Clipping):
    """Does so where actions are a float32."""

    size = 4


class Guessing(Bend):
    """Takes the first action where none is given."""

    def request(self, told: Told) -> None:
        """Sends it."""
        if told.get("op") == "step":
            told.setdefault("action", _LEFT[self.is_json])


class Short(Bend):
    """Sends observations that do not fit the space."""

    def answer(self, told: Told, asked: Told) -> None:
        """Makes them too short."""
        if isinstance(told.get("observation"), (list, bytes)):
            told["observation"] = told["observation"][:-1]


class Zeros(Bend):
    """Sends base64 of nothing."""

    def answer(self, told: Told, asked: Told) -> None:
        """Replaces it by zeros."""
        if isinstance(told.get("observation"), str):
            told["observation"] = "A" * (len(told["observation"]) - 2) + "=="


class Unrewarding(Bend):
    """Gives no environment of several a reward."""

    def answer(self, told: Told, asked: Told) -> None:
        """Sets them to 0."""
        reward = told.get("reward")
        if isinstance(reward, list):
            told["reward"] = [0.0] * len(reward)
        elif isinstance(reward, bytes):
            told["reward"] = bytes(len(reward))


class Forbidding(Bend):
    """Knows every field, and refuses others."""

    def request(self, told: Told) -> None:
        """Asks for what there is not."""
        if "x_unknown" in told:
            told["op"] = "fly"

"""What a server can have wrong: changes to what goes through a proxy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.support.mutating_proxy import Message, Mutation

MutationFactory = Callable[[list[Mutation]], Mutation]

#: Actions of CartPole that are in its space.
_LEFT = {True: 0, False: bytes(8)}


def requests(function: Callable[[Message], object]) -> MutationFactory:
    """Make a server that takes requests for others."""

    class Requests(Mutation):
        def request(self, message: Message) -> None:
            function(message)

    return Requests


def answers(function: Callable[[Message], object], op: str = "") -> MutationFactory:
    """Make a server that answers wrongly, to one operation or with errors or to all."""

    class Answers(Mutation):
        def answer(self, message: Message, request: Message) -> None:
            if op in ("", message["op"]):
                function(message)

    return Answers


def writes(function: Callable[[bytes], bytes]) -> MutationFactory:
    """Make a server that writes wrong frames."""

    class Writes(Mutation):
        def write(self, data: bytes) -> bytes:
            return function(data)

    return Writes


def refuses(is_unknown: Callable[[Any], object], *fields: str) -> MutationFactory:
    """Make a server that refuses requests with a value of some kind in them, at any depth of these fields or of all."""

    def is_in(value: Any) -> bool:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return bool(is_unknown(value)) or any(map(is_in, parts))

    return requests(
        lambda message: (
            any(is_in(each) for name, each in message.items() if not fields or name in fields)
            and message.update(op="fly")
        )
    )


def without(*fields: str, op: str = "") -> MutationFactory:
    """Make a server that does not know some fields of requests."""
    return requests(lambda message: [message.pop(name, None) for name in fields if op in ("", message.get("op"))])


def coded(code: str) -> MutationFactory:
    """Make a server whose errors of one code have another."""
    return answers(lambda message: message.update(code="something-else") if message["code"] == code else None, "error")


class ReadsAreFrames(Mutation):
    """Takes what it reads for whole frames."""

    chunk = 5

    def read(self, data: bytes) -> bytes:
        """Give up, as a read is never that much."""
        self.over = True
        return b""


class FirstOfRead(Mutation):
    """Takes the first frame of what it reads, and forgets the rest."""

    def read(self, data: bytes) -> bytes:
        """Find the end of the first frame."""
        if not self.is_json:
            return data[: 4 + int.from_bytes(data[:4], "big")]
        length, _, _ = data.partition(b":")
        return data[: len(length) + int(length) + 2] if length.isdigit() else data


class Deaf(Mutation):
    """Does not answer bytes that are not a frame."""

    def garbage(self, data: bytes) -> bytes:
        """Forget it."""
        return b""


class Unsigned(Mutation):
    """Reads -0 as 0."""

    def read(self, data: bytes) -> bytes:
        """Leave out the sign."""
        return data.replace(b"-0", b" 0")


class Open(Mutation):
    """Never closes a connection."""

    def __init__(self, others: list[Mutation]) -> None:
        """Take part."""
        super().__init__(others)
        self.deaf = True


class Silent(Mutation):
    """Closes the connection instead of saying what is wrong."""

    def reply(self, message: Message, request: Message, pending: int) -> list[Message]:
        """Leave errors out."""
        self.over = message["op"] == "error"
        return [] if self.over else [message]


class Fragile(Mutation):
    """Breaks everybody's connection when a client leaves in the middle of a frame."""

    def left(self, unread: bool) -> None:
        """Close all."""
        for each in self.others:
            each.over = each.over or unread


class Lonely(Mutation):
    """Serves one connection at a time."""

    def __init__(self, others: list[Mutation]) -> None:
        """Close the connection if there is another."""
        busy = any(not each.over for each in others)
        super().__init__(others)
        self.over = busy


class Swapping(Mutation):
    """Answers two requests that came together in the wrong order."""

    def __init__(self, others: list[Mutation]) -> None:
        """Take part."""
        super().__init__(others)
        self.held: list[Message] = []

    def reply(self, message: Message, request: Message, pending: int) -> list[Message]:
        """Hold a reply back where another one is to come."""
        if pending and not self.held and request.get("op") != "make":
            self.held = [message]
            return []
        held, self.held = self.held, []
        return [message, *held]


class Tired(Mutation):
    """Closes the connection after five hundred replies."""

    count = 0

    def answer(self, message: Message, request: Message) -> None:
        """Count."""
        self.count += 1
        self.over = self.count == 500


class Playing(Mutation):
    """Gets the seed of the first reset, and not that of those in an episode."""

    begun = False

    def request(self, message: Message) -> None:
        """Leave it out."""
        if message.get("op") == "reset" and self.begun:
            message.pop("seed", None)
        self.begun = self.begun or message.get("op") == "reset"


class Anew(Mutation):
    """Makes the environment anew where there is one."""

    made = False

    def request(self, message: Message) -> None:
        """Take the second make for a reset."""
        if message.get("op") == "make" and self.made:
            message["op"] = "reset"
        self.made = True


class Rounding(Mutation):
    """Writes few digits of floats in JSON."""

    def answer(self, message: Message, request: Message) -> None:
        """Rounds observations."""
        if self.is_json and isinstance(message.get("observation"), list):
            message["observation"] = [round(each, 3) for each in message["observation"]]


class Early(Mutation):
    """Takes actions before it has checked all of them."""

    def request(self, message: Message) -> None:
        """Take those before the last, which is wrong."""
        if isinstance(message.get("actions"), list):
            message["actions"].pop()

    def reply(self, message: Message, request: Message, pending: int) -> list[Message]:
        """Says that the last is wrong, which is so."""
        if message["op"] != "step_many":
            return [message]
        return [{"op": "error", "code": "invalid-action", "message": "action", "fault": "request"}]


class Clipping(Mutation):
    """Takes the nearest action for one that is not in the space, or any."""

    size = 8

    def request(self, message: Message) -> None:
        """Send a right one instead."""
        if "action" in message:
            message["action"] = _LEFT[self.is_json] if self.size == 8 else [0.0] if self.is_json else bytes(4)


class ClippingFloats(Clipping):
    """Does so where actions are a float32."""

    size = 4


class Guessing(Mutation):
    """Takes the first action where none is given."""

    def request(self, message: Message) -> None:
        """Send it."""
        if message.get("op") == "step":
            message.setdefault("action", _LEFT[self.is_json])


class Short(Mutation):
    """Sends observations that do not fit the space."""

    def answer(self, message: Message, request: Message) -> None:
        """Make them too short."""
        if isinstance(message.get("observation"), (list, bytes)):
            message["observation"] = message["observation"][:-1]


class Zeros(Mutation):
    """Sends base64 of nothing."""

    def answer(self, message: Message, request: Message) -> None:
        """Replace it by zeros."""
        if isinstance(message.get("observation"), str):
            message["observation"] = "A" * (len(message["observation"]) - 2) + "=="


class Unrewarding(Mutation):
    """Gives no environment of several a reward."""

    def answer(self, message: Message, request: Message) -> None:
        """Set them to 0."""
        reward = message.get("reward")
        if isinstance(reward, list):
            message["reward"] = [0.0] * len(reward)
        elif isinstance(reward, bytes):
            message["reward"] = bytes(len(reward))


class Forbidding(Mutation):
    """Knows every field, and refuses others."""

    def request(self, message: Message) -> None:
        """Ask for what there is not."""
        if "x_unknown" in message:
            message["op"] = "fly"


def sends(change: Callable[[bytes], bytes]) -> MutationFactory:
    """Change what the server sends by HTTP and WebSocket."""

    class Sending(Mutation):
        def http(self, data: bytes, *, of_client: bool) -> bytes:
            return data if of_client else change(data)

    return Sending


class Hospitable(Mutation):
    """Does not look at the page from which a request comes."""

    def http(self, data: bytes, *, of_client: bool) -> bytes:
        """Leave out the origin."""
        return re.sub(rb"Origin: .*\r\n", b"", data) if of_client else data

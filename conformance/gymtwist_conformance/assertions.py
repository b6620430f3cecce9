"""Assertions about one connection of a client: each holds until it is contradicted."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct

from gymtwist_conformance.reference_client.byte_stream import Violation, require
from gymtwist_conformance.reference_client.element_codecs import check_fields

_COUNT = Annotated[int, Meta(ge=1, le=10_000)]
_SEED = Annotated[int, Meta(ge=0)]
_ROOM = Annotated[int, Meta(ge=4096, le=1 << 27)] | None
_NAME = Annotated[str, Meta(min_length=1, max_length=255)]


class _Wrapper(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    kwargs: dict[str, Any] = {}


class _OwnOptions(Struct, forbid_unknown_fields=True):
    id: _NAME | None = None
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    seeds: Annotated[list[_SEED], Meta(max_length=10_000)] = []


class _Recording(Struct, forbid_unknown_fields=True):
    dataset: Annotated[str, Meta(min_length=1, max_length=200)]
    append: bool = False
    infos: bool = False
    frames: Literal["none", "video", "lossless"] = "none"
    compression: Annotated[int, Meta(ge=0, le=9)] = 1
    episodes: Annotated[int, Meta(ge=1)] | None = None
    megabytes: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None


_REQUESTS: dict[str, dict[str, Any]] = {
    "make": {
        "id": Annotated[str, Meta(min_length=1, max_length=255)],
        "kwargs?": dict[str, Any],
        "render_mode?": Annotated[str, Meta(max_length=64)] | None,
        "num_envs?": _COUNT | None,
        "vectorization_mode?": Literal["sync", "async", "vector_entry_point", None],
        "autoreset_mode?": Literal["next_step", "same_step", "disabled"],
        "max_episode_steps?": Annotated[int, Meta(ge=-1)] | None,
        "info?": Literal["all", "episode", "none"],
        "values?": Literal["nested", "base64"],
        "token?": Annotated[str, Meta(max_length=1024)] | None,
        "version?": Annotated[int, Meta(ge=1)],
        "vector_rewards?": bool,
        "lenient?": bool,
        "report_queue?": bool,
        "direct?": bool,
        "wrappers?": Annotated[list[_Wrapper], Meta(max_length=16)],
        "vector_wrappers?": Annotated[list[_Wrapper], Meta(max_length=16)],
        "record?": _Recording | None,
        "branch?": Annotated[str, Meta(max_length=128)],
        "keep_snapshots?": Annotated[int, Meta(ge=0, le=10_000)],
        "resume?": Annotated[float, Meta(gt=0, le=86_400)] | None,
        "on_failure?": Literal["raise", "truncate"],
        "each?": Annotated[list[_OwnOptions], Meta(max_length=10_000)],
    },
    "reset": {
        "seed?": _SEED | list[_SEED | None] | None,
        "options?": dict[str, Any] | None,
        "mask?": list[bool] | None,
        "verify_seed?": bool,
    },
    "step": {"action": Any},
    "step_many": {"actions?": list[Any], "action?": Any, "count?": _COUNT, "observations?": Literal["last", "all"]},
    "step_ready": {"env_ids?": list[_SEED], "actions?": list[Any], "min_ready?": _SEED},
    "sample": {"seed?": _SEED | None},
    "render": {"before_reset?": bool},
    "monitor": {"directory?": str | None, "resume?": bool, "force?": bool, "video_every?": Annotated[int, Meta(ge=0)]},
    "get": {"name": _NAME, "repr?": bool},
    "set": {"name": _NAME, "value": Any},
    "call": {"name": _NAME, "args?": list[Any], "kwargs?": dict[str, Any]},
    "share": {"request_room?": _ROOM, "reply_room?": _ROOM},
    "close": {},
}


class Result(NamedTuple):
    """The outcome of one assertion.

    Attributes:
        name: The names of the scenario and of the assertion, separated by a dot.
        protocol: The protocol that the client speaks; empty if it did not get that far.
        why: What contradicts the assertion; empty if nothing does.
    """

    name: str
    protocol: str
    why: str = ""


class Assertions:
    """The assertions about one connection.

    Args:
        scenario: The name of the scenario that the client plays.
        protocol: The protocol that the client speaks.
    """

    def __init__(self, scenario: str, protocol: str) -> None:
        self.scenario, self.protocol = scenario, protocol
        self._found: dict[str, str] = {}

    def check(self, name: str, condition: object, text: str) -> None:
        """Check an assertion; the first text that contradicts it is reported."""
        self._found[name] = self._found.get(name) or ("" if condition else text)

    def take(self, name: str, request: dict[str, Any], op: str) -> dict[str, Any]:
        """Assert that a request has a certain operation.

        Raises:
            Violation: It has another one, so the script cannot continue.
        """
        text = f'the client sent "{request["op"]}"; expected "{op}"'
        self.check(name, request["op"] == op, text)
        require(request["op"] == op, text)
        return request

    def look_at(self, message: dict[str, Any]) -> None:
        """Check a message of the client against the specification of requests.

        Raises:
            Violation: There is no such request, or a field is missing or of another type.
        """
        op = message["op"]
        try:
            require(op in _REQUESTS, f"no request has the operation {op!r:.80}")
            check_fields(message, _REQUESTS[op], f"the request {op!r}")
            if op == "step_many":
                several, one, count = (name in message for name in ("actions", "action", "count"))
                require(several != one and one == count, "step_many takes either `actions`, or `action` and `count`")
        except Violation as violation:
            self.check("messages", False, str(violation))
            raise
        # A server ignores fields that it does not know, and so misspelt ones.
        unknown = sorted(set(message) - {"op", *(name.rstrip("?") for name in _REQUESTS[op])})
        self.check("fields", not unknown, f'"{op}" has fields that do not exist: {", ".join(unknown)}')

    def results(self) -> list[Result]:
        """Return the outcomes."""
        return [Result(f"{self.scenario}.{name}", self.protocol, why) for name, why in self._found.items()]

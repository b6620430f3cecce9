"""The messages of the framed protocol: what a client asks and what a server answers.

Every message is an object whose ``op`` says what it is; the reply to a request has the request's own ``op``, or is an
:class:`Error`. Fields that have their default are left out, and fields that a reader does not know are ignored: so a
new optional field breaks nobody. :mod:`~gymtwist.protocol.codec` turns messages into bytes and back.

A *value* (an observation, an action) is what the space makes of it, see :mod:`~gymtwist.spaces.layout`: in MessagePack
one ``bin`` where the space has a layout.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gymtwist.spaces.descriptions import Description
from gymtwist.spaces.layout import Layout

#: The version of the protocol that these messages make up.
VERSION = 1
#: The most environments of one connection.
MAX_ENVIRONMENTS = 10_000
#: The most steps that one request can ask for.
MAX_STEPS = 10_000
#: The fewest and the most bytes of shared memory for a request, and for a reply.
MIN_ROOM, MAX_ROOM = 4096, 128 * 1024 * 1024
#: The longest environment id in characters.
MAX_ID = 255

AutoresetMode: TypeAlias = Literal["next_step", "same_step", "disabled"]
VectorizationMode: TypeAlias = Literal["sync", "async", "vector_entry_point"]
#: Which infos are wanted: those of every step, of a step that ends an episode (and of every reset), or none.
InfoWanted: TypeAlias = Literal["all", "episode", "none"]
#: How values with a layout travel in JSON: as nested lists, or as base64 of the bytes that MessagePack carries.
ValueForm: TypeAlias = Literal["nested", "base64"]
#: Which observations of several steps are wanted.
ObservationsWanted: TypeAlias = Literal["last", "all"]
#: Whose fault an error is: after one of the protocol's the server closes the connection, after the others it goes on.
#: The server's own is that it could not begin or end a session as it should; it closes, too.
Fault: TypeAlias = Literal["request", "environment", "protocol", "server"]

_Seed: TypeAlias = Annotated[int, Meta(ge=0)]
_Short: TypeAlias = Annotated[str, Meta(max_length=64)]

#: A reward, or one for each environment: in JSON a list of numbers, in MessagePack a ``bin`` of float64, little-endian.
#: A number that is not finite is "NaN", "Infinity" or "-Infinity" in JSON.
Rewards: TypeAlias = Any
#: A flag, or one for each environment: in JSON a list, in MessagePack a ``bin`` of bytes 0 and 1.
Flags: TypeAlias = "bool | list[bool] | bytes"


class Message(
    msgspec.Struct,
    frozen=True,
    tag_field="op",
    omit_defaults=True,
    forbid_unknown_fields=False,
    gc=False,
):
    """What all messages have in common; no message can lie in itself, so none needs Python's cycle collector."""


class Make(Message, frozen=True, tag="make"):
    """Make an environment; the first request of every connection.

    Attributes:
        id: The environment's id, as Gymnasium or Gym registered it.
        kwargs: The keyword arguments of the environment.
        render_mode: As ``gymnasium.make`` has it.
        num_envs: How many environments step together; None for a single one that is no vector environment.
        vectorization_mode: How they do; None leaves it to ``gymnasium.make_vec``.
        autoreset_mode: When an environment of several is reset after the end of its episode.
        max_episode_steps: After how many steps an episode is truncated; None as registered, -1 never.
        info: Which infos are wanted.
        values: How values travel in JSON.
        token: What the operator of the server may ask for.
        version: The version of the protocol that the client speaks.
    """

    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
    kwargs: dict[str, Any] = {}
    render_mode: _Short | None = None
    num_envs: Annotated[int, Meta(ge=1, le=MAX_ENVIRONMENTS)] | None = None
    vectorization_mode: VectorizationMode | None = None
    autoreset_mode: AutoresetMode = "next_step"
    max_episode_steps: Annotated[int, Meta(ge=-1)] | None = None
    info: InfoWanted = "all"
    values: ValueForm = "nested"
    token: Annotated[str, Meta(max_length=1024)] | None = None
    version: Annotated[int, Meta(ge=1)] = VERSION


class Reset(Message, frozen=True, tag="reset"):
    """Begin an episode.

    Attributes:
        seed: One for all environments, or one for each.
        options: What the environment makes of them.
        mask: Which environments of several are reset; None for all.
    """

    seed: _Seed | Annotated[list[_Seed | None], Meta(max_length=MAX_ENVIRONMENTS)] | None = None
    options: dict[str, Any] | None = None
    mask: Annotated[list[bool], Meta(max_length=MAX_ENVIRONMENTS)] | None = None


class Step(Message, frozen=True, tag="step"):
    """Take one step with an action."""

    action: Any


class StepMany(Message, frozen=True, tag="step_many"):
    """Take several steps; they stop at the end of an episode.

    Attributes:
        actions: One action for each step, in a list.
        action: Or one for all of them, taken as often as ``count`` says.
        count: How many steps to take with ``action``.
        observations: Whether the last observation is wanted or all of them.
    """

    actions: list[Any] | UnsetType = UNSET
    action: Any = UNSET
    count: int | UnsetType = UNSET
    observations: ObservationsWanted = "last"

    def __post_init__(self) -> None:
        """Check that it is said once what to do, and how often."""
        if (self.actions is UNSET) == (self.action is UNSET) or (self.action is UNSET) != (self.count is UNSET):
            raise ValueError("step_many takes either `actions`, or `action` and `count`")
        if not 1 <= self.steps <= MAX_STEPS:
            raise ValueError(f"step_many takes 1 to {MAX_STEPS} steps, not {self.steps}")

    @property
    def steps(self) -> int:
        """How many steps are asked for."""
        return len(self.actions) if isinstance(self.actions, list) else int(self.count or 0)


class Sample(Message, frozen=True, tag="sample"):
    """Draw an action from the action space, which is seeded before if a seed is given."""

    seed: _Seed | None = None


class Render(Message, frozen=True, tag="render"):
    """Render the environment in the render mode that it was made with."""


class Share(Message, frozen=True, tag="share"):
    """Share memory with the server, which is on the same host: asked for twice, before and after it was handed over.

    Attributes:
        request_room: Bytes of the memory that are for a request: given once the memory was handed over.
        reply_room: Bytes of it that are for a reply, likewise.
    """

    request_room: Annotated[int, Meta(ge=MIN_ROOM, le=MAX_ROOM)] | None = None
    reply_room: Annotated[int, Meta(ge=MIN_ROOM, le=MAX_ROOM)] | None = None

    def __post_init__(self) -> None:
        """Check that both are given or neither is."""
        if (self.request_room is None) != (self.reply_room is None):
            raise ValueError("share takes both `request_room` and `reply_room`, or neither")


class Close(Message, frozen=True, tag="close"):
    """Close the environment; the last request of a connection."""


class Spec(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What the registry says about the environment, as ``gymnasium.envs.registration.EnvSpec`` has it."""

    id: str
    max_episode_steps: int | None = None
    reward_threshold: float | None = None
    nondeterministic: bool = False
    kwargs: dict[str, Any] = {}


class Limits(msgspec.Struct, frozen=True, gc=False):
    """What the server allows: seconds without a request and seconds of one step (None: any), bytes of a payload."""

    idle_timeout: float | None
    step_timeout: float | None
    max_frame: int


class Made(Message, frozen=True, tag="make"):
    """The environment is made.

    Attributes:
        action_space: The description of the action space; of several environments that of all together.
        observation_space: The description of the observation space, likewise.
        server: The server's name and version.
        action_layout: Where in its bytes an action's numbers are; None if actions travel as structured values.
        observation_layout: The same for observations.
        single_action_space: The description of one environment's action space, where there are several.
        single_observation_space: The description of one environment's observation space, where there are several.
        single_action_layout: The layout of one environment's action, where there are several.
        single_observation_layout: The layout of one environment's observation, where there are several.
        spec: What the registry says about the environment.
        metadata: What the environment says about itself.
        num_envs: How many environments there are; None for a single one that is no vector environment.
        autoreset_mode: When an environment of several is reset; None where there is one.
        render_mode: The render mode that the environment has.
        limits: What the server allows.
        shared_memory: Whether a client on the server's host may share memory with it; see :class:`Share`.
        version: The version of the protocol that the server speaks.
    """

    action_space: Description
    observation_space: Description
    server: str
    action_layout: Layout | None = None
    observation_layout: Layout | None = None
    single_action_space: Description | None = None
    single_observation_space: Description | None = None
    single_action_layout: Layout | None = None
    single_observation_layout: Layout | None = None
    spec: Spec | None = None
    metadata: dict[str, Any] = {}
    num_envs: int | None = None
    autoreset_mode: AutoresetMode | None = None
    render_mode: str | None = None
    limits: Limits | None = None
    shared_memory: bool = False
    version: int = VERSION


class ResetDone(Message, frozen=True, tag="reset"):
    """An episode has begun."""

    observation: Any
    info: dict[str, Any] = {}


class Stepped(Message, frozen=True, tag="step"):
    """A step is taken."""

    observation: Any
    reward: Rewards
    terminated: Flags
    truncated: Flags
    info: dict[str, Any] = {}


class SteppedMany(Message, frozen=True, tag="step_many"):
    """Several steps are taken.

    Attributes:
        observations: The last observation, or all of them: in a list, or in one ``bin`` behind one another.
        rewards: The rewards of every step.
        terminated: Of the last step.
        truncated: Of the last step.
        count: How many steps were taken: fewer than asked for where the episode ended.
        info: Of the last step.
    """

    observations: Any
    rewards: Rewards
    terminated: Flags
    truncated: Flags
    count: int
    info: dict[str, Any] = {}


class Sampled(Message, frozen=True, tag="sample"):
    """An action drawn from the action space."""

    action: Any


class Rendered(Message, frozen=True, tag="render"):
    """What was rendered: an array (``dtype``, ``shape``, ``data``), text, a list of them, or nothing."""

    frame: Any = None


class Shared(Message, frozen=True, tag="share"):
    """Memory can be shared, or is.

    Attributes:
        address: Of the socket that takes the memory, in Linux's abstract namespace; None once it was taken.
        token: What to send along with it; None likewise.
    """

    address: str | None = None
    token: str | None = None


class Closed(Message, frozen=True, tag="close"):
    """The environment is closed; the server closes the connection."""


class Error(Message, frozen=True, tag="error"):
    """A request failed.

    Attributes:
        code: What went wrong, in kebab-case: it stays the same, for programs.
        message: What was wrong, what was expected and what to do, for people.
        fault: Whose fault it is, and so how the connection goes on.
        reset_needed: Whether the next request must be a reset.
    """

    code: str
    message: str
    fault: Fault
    reset_needed: bool = False


Request: TypeAlias = Make | Reset | Step | StepMany | Sample | Render | Share | Close
Reply: TypeAlias = Made | ResetDone | Stepped | SteppedMany | Sampled | Rendered | Shared | Closed | Error

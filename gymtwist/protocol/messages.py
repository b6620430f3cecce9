"""The messages of the framed protocol: requests of clients and replies of servers.

Messages that begin a session are in :mod:`~gymtwist.protocol.make_messages`, messages for multi-agent environments in
:mod:`~gymtwist.protocol.agent_messages`, and a list of all in :mod:`~gymtwist.protocol.all_messages`.

Every message is an object whose ``op`` names its type. The reply to a request has the same ``op``, or is an
:class:`Error`. Fields with their default are omitted, and unknown fields are ignored, so that new optional fields stay
compatible. :mod:`~gymtwist.protocol.codec` encodes and decodes messages.

A *value* (an observation or an action) has the form of its space; see :mod:`~gymtwist.spaces.layout`. In MessagePack it
is one ``bin`` if the space has a layout.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

#: The version of the protocol.
VERSION = 1
#: The maximum number of environments per connection.
MAX_ENVIRONMENTS = 10_000
#: The maximum number of steps per request.
MAX_STEPS = 10_000
#: The minimum and maximum capacity of shared memory for a request, and for a reply, in bytes.
MIN_ROOM, MAX_ROOM = 4096, 128 * 1024 * 1024
#: The maximum length of an environment id in characters.
MAX_ID = 255
#: The maximum length of a token in characters.
MAX_TOKEN = 1024
#: The maximum interval between recorded videos, in episodes.
MAX_VIDEO_EVERY = 1_000_000
#: The longest time that a client can ask a session to wait for it, in seconds.
MAX_RESUME = 86_400
#: The maximum number of environments listed in one reply.
MAX_LISTED = 1000

#: How the agents of a multi-agent environment act, as in PettingZoo: all at once, or one after another.
AgentApi: TypeAlias = Literal["parallel", "aec"]
#: The form of values with a layout in JSON: nested lists, or base64 of the bytes used in MessagePack.
ValueForm: TypeAlias = Literal["nested", "base64"]
#: Which observations of several steps the server sends.
ObservationsWanted: TypeAlias = Literal["last", "all"]
#: Whose fault an error is. The server closes the connection after protocol errors, and after its own errors, if it
#: could not start or end a session properly. After other errors, the session continues.
Fault: TypeAlias = Literal["request", "environment", "protocol", "server"]

Seed: TypeAlias = Annotated[int, Meta(ge=0)]
#: How many seconds a session should wait for its client.
ResumeSeconds: TypeAlias = Annotated[float, Meta(gt=0, le=MAX_RESUME)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
Short: TypeAlias = Annotated[str, Meta(max_length=64)]

#: A reward, or one for each environment: in JSON, a list of numbers; in MessagePack, a ``bin`` of little-endian
#: float64. Rewards that are arrays are nested lists in JSON; in MessagePack, they are an array like those in infos. In
#: JSON, a number that is not finite is "NaN", "Infinity" or "-Infinity".
Rewards: TypeAlias = Any
#: A flag, or one for each environment: in JSON, a list; in MessagePack, a ``bin`` of bytes 0 and 1.
Flags: TypeAlias = "bool | list[bool] | bytes"
#: The places in a reply of data that no message can carry, such as "info.stats.model"; the encoder sets this field.
Omitted: TypeAlias = tuple[str, ...]
#: The last field of every reply: what the client should know about its request, such as an unknown field.
Warnings: TypeAlias = tuple[str, ...]


class Message(
    msgspec.Struct,
    frozen=True,
    tag_field="op",
    omit_defaults=True,
    forbid_unknown_fields=False,
    gc=False,
):
    """The base of all messages. A message cannot contain itself, so none needs Python's cycle collector."""


class Reset(Message, frozen=True, tag="reset", forbid_unknown_fields=True):
    """Begin an episode.

    Attributes:
        seed: One seed for all environments, or a list with one for each.
        options: Options of the environment.
        mask: Which of several environments to reset; None for all.
        verify_seed: Whether to play the beginning of two episodes with the seed and compare them, before the reset.
    """

    seed: Seed | Annotated[list[Seed | None], Meta(max_length=MAX_ENVIRONMENTS)] | None = None
    options: dict[str, Any] | None = None
    mask: Annotated[list[bool], Meta(max_length=MAX_ENVIRONMENTS)] | None = None
    verify_seed: bool = False

    def __post_init__(self) -> None:
        """Check that a seed to verify is given, and that all environments are reset."""
        if self.verify_seed and (self.seed is None or self.mask is not None):
            raise ValueError("`verify_seed` needs a `seed`, and no `mask`")


class Step(Message, frozen=True, tag="step", forbid_unknown_fields=True):
    """Take one step with an action."""

    action: Any


class StepMany(Message, frozen=True, tag="step_many", forbid_unknown_fields=True):
    """Take several steps, stopping at the end of an episode.

    Attributes:
        actions: A list with one action per step.
        action: Alternatively, one action for all steps.
        count: The number of steps with ``action``.
        observations: Whether to send the last observation or all.
    """

    actions: list[Any] | UnsetType = UNSET
    action: Any = UNSET
    count: int | UnsetType = UNSET
    observations: ObservationsWanted = "last"

    def __post_init__(self) -> None:
        """Check that the actions and the number of steps are each given exactly once."""
        if (self.actions is UNSET) == (self.action is UNSET) or (self.action is UNSET) != (self.count is UNSET):
            raise ValueError("step_many takes either `actions`, or `action` and `count`")
        if not 1 <= self.steps <= MAX_STEPS:
            raise ValueError(f"step_many takes 1 to {MAX_STEPS} steps, not {self.steps}")

    @property
    def steps(self) -> int:
        """The number of requested steps."""
        return len(self.actions) if isinstance(self.actions, list) else int(self.count or 0)


class StepReady(Message, frozen=True, tag="step_ready", forbid_unknown_fields=True):
    """Begin steps in some of several environments, and wait until some have finished their step.

    Attributes:
        env_ids: The indices of the environments to step, none of which is in a step yet.
        actions: The actions, in the same order.
        min_ready: How many of the environments in a step to wait for; 0 for none.
    """

    env_ids: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=MAX_ENVIRONMENTS)] = []
    actions: Annotated[list[Any], Meta(max_length=MAX_ENVIRONMENTS)] = []
    min_ready: Annotated[int, Meta(ge=0, le=MAX_ENVIRONMENTS)] = 0


class Sample(Message, frozen=True, tag="sample", forbid_unknown_fields=True):
    """Sample the action space, after seeding it if a seed is given."""

    seed: Seed | None = None


class Render(Message, frozen=True, tag="render", forbid_unknown_fields=True):
    """Render the environment in its render mode.

    Attributes:
        before_reset: Whether to render even if no episode has begun; the environment decides what then happens.
    """

    before_reset: bool = False


class Monitor(Message, frozen=True, tag="monitor", forbid_unknown_fields=True):
    """Record the episodes from the next reset on into files at the server, or stop recording.

    Attributes:
        directory: The directory, relative to the operator's directory; None to stop, and complete the files.
        resume: Whether to keep the files of an earlier monitor.
        force: Whether to remove the files of an earlier monitor.
        video_every: Record a video of each episode whose number is a multiple of this; 0 for none.
    """

    directory: Annotated[str, Meta(min_length=1)] | None = None
    resume: bool = False
    force: bool = False
    video_every: Annotated[int, Meta(ge=0, le=MAX_VIDEO_EVERY)] = 0


class Get(Message, frozen=True, tag="get", forbid_unknown_fields=True):
    """Read an attribute of the environment, or of each of several environments.

    Attributes:
        name: The attribute's name, without dots.
        repr: Whether to send the result of Python's ``repr``, which works for every object.
    """

    name: Name
    repr: bool = False


class Set(Message, frozen=True, tag="set", forbid_unknown_fields=True):
    """Change an attribute that the environment has.

    Attributes:
        name: The attribute's name, without dots.
        value: The new value; for a vector environment, a list with a value for each environment.
    """

    name: Name
    value: Any


class Call(Message, frozen=True, tag="call", forbid_unknown_fields=True):
    """Call a method of the environment, or of each of several environments.

    Attributes:
        name: The method's name, without dots. An attribute that is not a method is read, as in Gymnasium's vector
            environments.
        args: The arguments.
        kwargs: The keyword arguments.
    """

    name: Name
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


class Share(Message, frozen=True, tag="share", forbid_unknown_fields=True):
    """Share memory with a server on the same host; sent once before and once after passing the descriptor.

    Attributes:
        request_room: The capacity for a request in bytes; given after passing the descriptor.
        reply_room: The capacity for replies in bytes, likewise.
    """

    request_room: Annotated[int, Meta(ge=MIN_ROOM, le=MAX_ROOM)] | None = None
    reply_room: Annotated[int, Meta(ge=MIN_ROOM, le=MAX_ROOM)] | None = None

    def __post_init__(self) -> None:
        """Check that both are given or neither is."""
        if (self.request_room is None) != (self.reply_room is None):
            raise ValueError("share takes both `request_room` and `reply_room`, or neither")


class Close(Message, frozen=True, tag="close", forbid_unknown_fields=True):
    """Close the environment; the last request of a connection."""


class Envs(Message, frozen=True, tag="envs", forbid_unknown_fields=True):
    """List the environments that clients may make; may be the first request of a connection.

    Attributes:
        after: List only ids that come after this one in the order of their characters.
        count: The maximum number to list.
        report_queue: Whether to send :class:`~gymtwist.protocol.make_messages.Queued` while the client waits for a
            session.
        token: The client's token, if the server requires one.
        api: List multi-agent environments whose agents can act in this way; None for single-agent environments.
    """

    after: Annotated[str, Meta(max_length=MAX_ID)] = ""
    count: Annotated[int, Meta(ge=0, le=MAX_LISTED)] = MAX_LISTED
    report_queue: bool = False
    token: Annotated[str, Meta(max_length=MAX_TOKEN)] | None = None
    api: AgentApi | None = None


class ResetDone(Message, frozen=True, tag="reset"):
    """The reply to :class:`Reset`.

    Attributes:
        seeded: True if a seed was verified to have an effect; False if it had none, or if the environment took no seed;
            otherwise None.
        plain_numbers: Whether the elements of Discrete spaces in the environment's observations are Python integers,
            rather than NumPy's.
    """

    observation: Any
    info: dict[str, Any] = {}
    omitted: Omitted = ()
    warnings: Warnings = ()
    seeded: bool | None = None
    plain_numbers: bool = False


class Stepped(Message, frozen=True, tag="step"):
    """The reply to :class:`Step`.

    Attributes:
        reward_type: In the reply to the first step, the type of the environment's reward if it is not a Python float:
            ``int``, or the name of a NumPy dtype.
    """

    observation: Any
    reward: Rewards
    terminated: Flags
    truncated: Flags
    info: dict[str, Any] = {}
    omitted: Omitted = ()
    warnings: Warnings = ()
    reward_type: str | None = None


class SteppedMany(Message, frozen=True, tag="step_many"):
    """The reply to :class:`StepMany`.

    Attributes:
        observations: The last observation, or all of them: in a list, or one after another in one ``bin``.
        rewards: The rewards of all steps.
        terminated: The flag of the last step.
        truncated: The flag of the last step.
        count: The number of steps taken; fewer than requested if the episode ended.
        info: The info of the last step.
        omitted: The places of values omitted from the info.
        warnings: What the client should know about its request.
    """

    observations: Any
    rewards: Rewards
    terminated: Flags
    truncated: Flags
    count: int
    info: dict[str, Any] = {}
    omitted: Omitted = ()
    warnings: Warnings = ()


class SteppedReady(Message, frozen=True, tag="step_ready"):
    """The reply to :class:`StepReady`: results of the environments that have finished, ordered by their indices.

    Attributes:
        observations: The observations, each a value of one environment: in a list, or one after another in one ``bin``.
        env_ids: The indices of the environments.
        rewards: The rewards.
        terminated: Whether each episode has terminated.
        truncated: Whether each episode was truncated.
        info: The infos, merged like those of a vector environment with only these environments.
        omitted: The places of values omitted from the info.
        warnings: What the client should know about its request.
    """

    observations: Any = []
    env_ids: Annotated[list[int], Meta(max_length=MAX_ENVIRONMENTS)] = []
    rewards: Rewards = []
    terminated: Flags = []
    truncated: Flags = []
    info: dict[str, Any] = {}
    omitted: Omitted = ()
    warnings: Warnings = ()


class Sampled(Message, frozen=True, tag="sample"):
    """The reply to :class:`Sample`."""

    action: Any
    warnings: Warnings = ()


class Rendered(Message, frozen=True, tag="render"):
    """The reply to :class:`Render`: an array (``dtype``, ``shape``, ``data``), text, a list of them, or nothing."""

    frame: Any = None
    warnings: Warnings = ()


class Monitored(Message, frozen=True, tag="monitor"):
    """The reply to :class:`Monitor`."""

    warnings: Warnings = ()


class Got(Message, frozen=True, tag="get"):
    """The reply to :class:`Get`.

    Attributes:
        value: The value; for a vector environment, a list with a value for each environment.
        callable: Whether the attribute is a method; then there is no value.
        warnings: What the client should know about its request.
    """

    value: Any = None
    callable: bool = False
    warnings: Warnings = ()


class AttributeSet(Message, frozen=True, tag="set"):
    """The reply to :class:`Set`."""

    warnings: Warnings = ()


class Called(Message, frozen=True, tag="call"):
    """The reply to :class:`Call`: the result; for a vector environment, a list with a result for each environment."""

    value: Any = None
    warnings: Warnings = ()


class Shared(Message, frozen=True, tag="share"):
    """The reply to :class:`Share`.

    Attributes:
        address: The address of the socket that receives the descriptor, in Linux's abstract namespace; None in the
            second reply.
        token: The token to send with the descriptor; None in the second reply.
        warnings: What the client should know about its request.
    """

    address: str | None = None
    token: str | None = None
    warnings: Warnings = ()


class Closed(Message, frozen=True, tag="close"):
    """The reply to :class:`Close`; the server closes the connection."""

    warnings: Warnings = ()


class ListedEnv(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is known about a server's environment without making it.

    Attributes:
        id: The id; Gym's ids begin with ``gym:``.
        library: The package that it comes from.
        max_episode_steps: The registered number of steps after which an episode is truncated; None for no limit.
        reward_threshold: The return at which the environment counts as solved; None if there is none.
        nondeterministic: Whether seeds do not determine the episodes.
    """

    id: Annotated[str, Meta(max_length=MAX_ID)]
    library: Annotated[str, Meta(max_length=MAX_ID)] = ""
    max_episode_steps: int | None = None
    reward_threshold: float | None = None
    nondeterministic: bool = False


class EnvsListed(Message, frozen=True, tag="envs"):
    """The reply to :class:`Envs`.

    Attributes:
        envs: The environments, in the order of the characters of their ids.
        more: Whether there are more after the last one.
        server: The server's name and version.
        warnings: What the client should know about its request.
    """

    envs: Annotated[tuple[ListedEnv, ...], Meta(max_length=MAX_LISTED)] = ()
    more: bool = False
    server: str = ""
    warnings: Warnings = ()


class Error(Message, frozen=True, tag="error"):
    """A request failed.

    Attributes:
        code: The stable code of the error in kebab-case, for programs.
        message: What was wrong, what was expected and what to do, for people.
        fault: Whose fault the error is, which determines whether the connection stays open.
        reset_needed: Whether the next request must be a reset.
        environments: The indices of the environments that the error concerns, if several step together.
        warnings: What else the client should know about its request.
        exception: The name of the built-in Python exception that the environment raised; empty if there is none.
    """

    code: str
    message: str
    fault: Fault
    reset_needed: bool = False
    environments: tuple[int, ...] = ()
    warnings: Warnings = ()
    exception: str = ""

"""The messages of the framed protocol: requests of clients and replies of servers.

Those for multi-agent environments are in :mod:`~gymtwist.protocol.agent_messages`, and the list of all in
:mod:`~gymtwist.protocol.all_messages`.

Every message is an object whose ``op`` names its type. The reply to a request has the same ``op``, or is an
:class:`Error`. Fields with their default are left out, and unknown fields are ignored, so that new optional fields stay
compatible. :mod:`~gymtwist.protocol.codec` encodes and decodes messages.

A *value* (an observation or an action) has the form of its space; see :mod:`~gymtwist.spaces.layout`. In MessagePack it
is one ``bin`` if the space has a layout.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gymtwist.spaces.descriptions import Description
from gymtwist.spaces.layout import Layout

#: The version of the protocol.
VERSION = 1
#: The most environments of one connection.
MAX_ENVIRONMENTS = 10_000
#: The most steps of one request.
MAX_STEPS = 10_000
#: The smallest and the largest capacity of shared memory for a request, and for a reply, in bytes.
MIN_ROOM, MAX_ROOM = 4096, 128 * 1024 * 1024
#: The most wrappers around one environment, or around a vector environment.
MAX_WRAPPERS = 16
#: The most seeds of one of several environments, for resets that have none.
MAX_SEEDS = 10_000
#: The longest environment id in characters.
MAX_ID = 255
#: The most snapshots that one session may ask to keep.
MAX_SNAPSHOTS = 10_000
#: The longest ticket of a snapshot in characters.
MAX_TICKET = 128
#: The longest name of a dataset in characters, and the most MiB that a client may limit it to.
MAX_DATASET_NAME, MAX_MEGABYTES = 200, 1_000_000_000
#: The longest token in characters.
MAX_TOKEN = 1024
#: The most episodes of which one is filmed.
MAX_VIDEO_EVERY = 1_000_000
#: The longest time that a client can ask a session to wait for it, in seconds.
MAX_RESUME = 86_400
#: The most environments that one reply lists.
MAX_LISTED = 1000

AutoresetMode: TypeAlias = Literal["next_step", "same_step", "disabled"]
VectorizationMode: TypeAlias = Literal["sync", "async", "vector_entry_point"]
#: How the agents of a multi-agent environment act, as in PettingZoo: all at once, or one after the other.
AgentApi: TypeAlias = Literal["parallel", "aec"]
#: Which infos the server sends: those of every step, of resets and of steps that end an episode, or none.
InfoWanted: TypeAlias = Literal["all", "episode", "none"]
#: The form of values with a layout in JSON: nested lists, or base64 of the bytes that MessagePack has.
ValueForm: TypeAlias = Literal["nested", "base64"]
#: What an exception of one of several environments does: it is an error, or ends the episode of this environment.
OnFailure: TypeAlias = Literal["raise", "truncate"]
#: How the frames of recorded episodes are stored.
RecordedFrames: TypeAlias = Literal["none", "video", "lossless"]
#: Which observations of several steps the server sends.
ObservationsWanted: TypeAlias = Literal["last", "all"]
#: Whose fault an error is. The server closes the connection after errors of the protocol, and after its own, when it
#: could not start or end a session properly. After the others the session continues.
Fault: TypeAlias = Literal["request", "environment", "protocol", "server"]

Seed: TypeAlias = Annotated[int, Meta(ge=0)]
#: For how long a session should wait for its client.
ResumeSeconds: TypeAlias = Annotated[float, Meta(gt=0, le=MAX_RESUME)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
Short: TypeAlias = Annotated[str, Meta(max_length=64)]

#: A reward, or one for each environment: in JSON a list of numbers, in MessagePack a ``bin`` of float64, little-endian.
#: Rewards that are arrays are nested lists in JSON, in MessagePack an array like those of infos.
#: A number that is not finite is "NaN", "Infinity" or "-Infinity" in JSON.
Rewards: TypeAlias = Any
#: A flag, or one for each environment: in JSON a list, in MessagePack a ``bin`` of bytes 0 and 1.
Flags: TypeAlias = "bool | list[bool] | bytes"
#: The places in a reply of data that no message can carry, such as "info.stats.model"; the encoder fills the field in.
Omitted: TypeAlias = tuple[str, ...]
#: The last field of every reply: what the client should know of its request, such as a field that nobody knows.
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


class Wrapper(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """A wrapper that the server puts around each environment, or around a vector environment.

    Attributes:
        name: The class: one of ``gymnasium.wrappers``, or of ``gymnasium.wrappers.vector``, or ``module:Class``.
        kwargs: The keyword arguments of its constructor besides the environment.
    """

    name: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
    kwargs: dict[str, Any] = {}


class OwnOptions(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """What one of several environments has of its own.

    Attributes:
        id: Its id; None for that of the message.
        kwargs: Its keyword arguments, besides those of the message.
        options: The options of each reset that has none.
        seeds: The seeds of resets that have none, in order; those that follow them have none.
    """

    id: Name | None = None
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    seeds: Annotated[list[Seed], Meta(max_length=MAX_SEEDS)] = []


class Recording(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """How episodes are recorded into a dataset at the server, which Minari reads.

    Attributes:
        dataset: The name of the dataset, such as ``lab/cartpole-v0``.
        append: Whether to add to a dataset that exists; otherwise that is an error.
        infos: Whether infos are recorded, too.
        frames: Whether frames are: as a ``video`` for each episode, or ``lossless`` among its infos.
        compression: The level of gzip for large arrays; 0 for none.
        episodes: Record nothing more once so many episodes were terminated or truncated; None for all.
        megabytes: The most MiB that the dataset may have on disk; None for no limit but the operator's.
    """

    dataset: Annotated[str, Meta(min_length=1, max_length=MAX_DATASET_NAME)]
    append: bool = False
    infos: bool = False
    frames: RecordedFrames = "none"
    compression: Annotated[int, Meta(ge=0, le=9)] = 1
    episodes: Annotated[int, Meta(ge=1)] | None = None
    megabytes: Annotated[int, Meta(ge=1, le=MAX_MEGABYTES)] | None = None


class Make(Message, frozen=True, tag="make", forbid_unknown_fields=True):
    """Make an environment; the first request of every connection.

    Attributes:
        id: The environment's id, as Gymnasium or Gym registered it.
        kwargs: The keyword arguments of the environment.
        render_mode: See ``gymnasium.make``.
        num_envs: The number of environments; None for a single one that is not a vector environment.
        vectorization_mode: How they are stepped; None leaves it to ``gymnasium.make_vec``.
        autoreset_mode: When an environment of several is reset after the end of its episode.
        max_episode_steps: The number of steps after which an episode is truncated; None as registered, -1 for never.
        info: Which infos the server sends.
        values: The form of values in JSON.
        token: The client's token, if the server needs one.
        version: The client's version of the protocol.
        vector_rewards: Whether the client takes rewards that are arrays.
        report_queue: Whether to send :class:`Queued` while the client waits for a session.
        wrappers: The wrappers around each environment, the innermost first.
        lenient: Whether actions may be outside the bounds of a Box, and steps may go on after the end of an episode.
        each: What each of several environments has of its own; empty if all are alike.
        on_failure: Whether an exception of one of several environments is an error, or the end of its episode.
        vector_wrappers: The wrappers around the vector environment, the innermost first.
        branch: The ticket of a snapshot to go on from, whose session was made by the same message without this field;
            empty for a new environment.
        record: How episodes are recorded into a dataset at the server; None if they are not.
        direct: Whether to send :class:`Moved` if the environment is to run on a node of a cluster.
        keep_snapshots: Keep so many snapshots at most, the last ones, and go back to the last one if the environment's
            process crashes; 0 to keep all, and to make a fresh environment then.
        resume: For how many seconds the session should wait for the client if the connection is lost; None to end then.
    """

    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
    kwargs: dict[str, Any] = {}
    render_mode: Short | None = None
    num_envs: Annotated[int, Meta(ge=1, le=MAX_ENVIRONMENTS)] | None = None
    vectorization_mode: VectorizationMode | None = None
    autoreset_mode: AutoresetMode = "next_step"
    max_episode_steps: Annotated[int, Meta(ge=-1)] | None = None
    info: InfoWanted = "all"
    values: ValueForm = "nested"
    token: Annotated[str, Meta(max_length=MAX_TOKEN)] | None = None
    version: Annotated[int, Meta(ge=1)] = VERSION
    vector_rewards: bool = False
    report_queue: bool = False
    wrappers: Annotated[list[Wrapper], Meta(max_length=MAX_WRAPPERS)] = []
    lenient: bool = False
    each: Annotated[list[OwnOptions], Meta(max_length=MAX_ENVIRONMENTS)] = []
    on_failure: OnFailure = "raise"
    vector_wrappers: Annotated[list[Wrapper], Meta(max_length=MAX_WRAPPERS)] = []
    branch: Annotated[str, Meta(max_length=MAX_TICKET)] = ""
    record: Recording | None = None
    direct: bool = False
    keep_snapshots: Annotated[int, Meta(ge=0, le=MAX_SNAPSHOTS)] = 0
    resume: ResumeSeconds | None = None


class Reset(Message, frozen=True, tag="reset", forbid_unknown_fields=True):
    """Begin an episode.

    Attributes:
        seed: One seed for all environments, or one for each.
        options: Options of the environment.
        mask: Which of several environments to reset; None for all.
        verify_seed: Whether to play the beginning of two episodes with the seed, and to compare them, before the reset.
    """

    seed: Seed | Annotated[list[Seed | None], Meta(max_length=MAX_ENVIRONMENTS)] | None = None
    options: dict[str, Any] | None = None
    mask: Annotated[list[bool], Meta(max_length=MAX_ENVIRONMENTS)] | None = None
    verify_seed: bool = False

    def __post_init__(self) -> None:
        """Check that a seed to verify is given, and all environments begin with it."""
        if self.verify_seed and (self.seed is None or self.mask is not None):
            raise ValueError("`verify_seed` needs a `seed`, and no `mask`")


class Step(Message, frozen=True, tag="step", forbid_unknown_fields=True):
    """Take one step with an action."""

    action: Any


class StepMany(Message, frozen=True, tag="step_many", forbid_unknown_fields=True):
    """Take several steps; they stop at the end of an episode.

    Attributes:
        actions: A list with one action per step.
        action: Or one action for all steps.
        count: The number of steps with ``action``.
        observations: Whether to send the last observation or all.
    """

    actions: list[Any] | UnsetType = UNSET
    action: Any = UNSET
    count: int | UnsetType = UNSET
    observations: ObservationsWanted = "last"

    def __post_init__(self) -> None:
        """Check that the actions and the number of steps are given once."""
        if (self.actions is UNSET) == (self.action is UNSET) or (self.action is UNSET) != (self.count is UNSET):
            raise ValueError("step_many takes either `actions`, or `action` and `count`")
        if not 1 <= self.steps <= MAX_STEPS:
            raise ValueError(f"step_many takes 1 to {MAX_STEPS} steps, not {self.steps}")

    @property
    def steps(self) -> int:
        """The number of requested steps."""
        return len(self.actions) if isinstance(self.actions, list) else int(self.count or 0)


class StepReady(Message, frozen=True, tag="step_ready", forbid_unknown_fields=True):
    """Begin steps of some of several environments, and wait until some are done with theirs.

    Attributes:
        env_ids: The indices of the environments to step, which are not in a step yet.
        actions: Their actions, in the same order.
        min_ready: How many environments to wait for, of those that are in a step; 0 for none.
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
        before_reset: Whether to render even if no episode has begun; what then happens is up to the environment.
    """

    before_reset: bool = False


class Monitor(Message, frozen=True, tag="monitor", forbid_unknown_fields=True):
    """Record the episodes from the next reset on, into files at the server; or stop to record.

    Attributes:
        directory: The directory, below that of the server's operator; None to stop and to complete the files.
        resume: Whether to keep the files of an earlier monitor.
        force: Whether to remove them.
        video_every: Record a video of each episode whose number is a multiple of this; 0 for none.
    """

    directory: Annotated[str, Meta(min_length=1)] | None = None
    resume: bool = False
    force: bool = False
    video_every: Annotated[int, Meta(ge=0, le=MAX_VIDEO_EVERY)] = 0


class Get(Message, frozen=True, tag="get", forbid_unknown_fields=True):
    """Read an attribute of the environment, or of each of several.

    Attributes:
        name: The attribute's name, without dots.
        repr: Whether to send the text that Python's ``repr`` makes of it, which every object has.
    """

    name: Name
    repr: bool = False


class Set(Message, frozen=True, tag="set", forbid_unknown_fields=True):
    """Change an attribute that the environment has.

    Attributes:
        name: The attribute's name, without dots.
        value: Its new value; for a vector environment a list with one for each environment.
    """

    name: Name
    value: Any


class Call(Message, frozen=True, tag="call", forbid_unknown_fields=True):
    """Call a method of the environment, or of each of several.

    Attributes:
        name: The method's name, without dots. An attribute that is none is read, as in Gymnasium's vector environments.
        args: The arguments.
        kwargs: The keyword arguments.
    """

    name: Name
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


class Share(Message, frozen=True, tag="share", forbid_unknown_fields=True):
    """Share memory with the server, on the same host: sent once before and once after passing the descriptor.

    Attributes:
        request_room: Capacity for a request in bytes; given after passing the descriptor.
        reply_room: Capacity for replies in bytes, likewise.
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
        count: List so many at most.
        report_queue: Whether to send :class:`Queued` while the client waits for a session.
        token: The client's token, if the server needs one.
        api: List multi-agent environments whose agents can act in this way; None for environments of one agent.
    """

    after: Annotated[str, Meta(max_length=MAX_ID)] = ""
    count: Annotated[int, Meta(ge=0, le=MAX_LISTED)] = MAX_LISTED
    report_queue: bool = False
    token: Annotated[str, Meta(max_length=MAX_TOKEN)] | None = None
    api: AgentApi | None = None


class Spec(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The environment's entry in the registry; see ``gymnasium.envs.registration.EnvSpec``."""

    id: str
    max_episode_steps: int | None = None
    reward_threshold: float | None = None
    nondeterministic: bool = False
    kwargs: dict[str, Any] = {}


class Limits(msgspec.Struct, frozen=True, gc=False):
    """The server's limits: seconds between requests and seconds of a step (None for no limit), bytes of a payload."""

    idle_timeout: float | None
    step_timeout: float | None
    max_frame: int


class Resumable(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a client needs to go on with its session if the connection is lost.

    Attributes:
        secret: What it sends then; whoever has it can take over the session.
        seconds: For how long the session waits.
        kept: The bytes of replies that the server keeps to send them again; the last reply is kept in any case.
    """

    secret: str
    seconds: float
    kept: int


class Made(Message, frozen=True, tag="make"):
    """The reply to :class:`Make`.

    Attributes:
        action_space: The description of the action space; for vector environments that of the batched space.
        observation_space: The description of the observation space, likewise.
        server: The server's name and version.
        action_layout: The layout of an action's bytes; None if actions are structured values.
        observation_layout: Likewise for observations.
        single_action_space: For vector environments, the action space of one environment.
        single_observation_space: For vector environments, the observation space of one environment.
        single_action_layout: For vector environments, the layout of one environment's action.
        single_observation_layout: For vector environments, the layout of one environment's observation.
        spec: The environment's entry in the registry.
        metadata: The environment's metadata.
        num_envs: The number of environments; None for a single one that is not a vector environment.
        autoreset_mode: For vector environments, when an environment is reset.
        render_mode: The environment's render mode.
        limits: The server's limits.
        shared_memory: Whether a client on the server's host may share memory with it; see :class:`Share`.
        version: The server's version of the protocol.
        omitted: The places of what is left out of the metadata and the spec; see :data:`Omitted`.
        reward_space: The space of rewards that are arrays, also for vector environments that of one environment.
        wrappers: The number of wrappers that the client has asked for and got; a server may not know of them.
        each: The number of environments that have got what they have of their own, likewise.
        vector_wrappers: The number of wrappers around the vector environment, likewise.
        step_ready: Whether some of the environments can be stepped alone; see :class:`StepReady`.
        branched: Whether the environment is that of a snapshot, as asked for.
        recording: The name of the dataset that episodes are recorded into; None if they are not.
        resume: What the client needs to go on after the loss of the connection; None if the session ends then.
        warnings: What the client should know of its request.
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
    omitted: Omitted = ()
    reward_space: Description | None = None
    wrappers: int = 0
    each: int = 0
    vector_wrappers: int = 0
    step_ready: bool = False
    branched: bool = False
    recording: str | None = None
    resume: Resumable | None = None
    warnings: Warnings = ()


class Queued(Message, frozen=True, tag="queued"):
    """The server is full: sent before the reply to the first request, if that asks for it, and at each move up.

    Attributes:
        place: The client's place in the queue; 1 is the first.
        warnings: What the client should know of its request.
    """

    place: int
    warnings: Warnings = ()


class Moved(Message, frozen=True, tag="moved"):
    """The session is on a node: sent before the reply to the first request, if that asks for it.

    Attributes:
        host: The IP address of the node.
        port: Its port.
        ticket: What a connection to it begins with, before a line end.
        warnings: What the client should know of its request.
    """

    host: str
    port: int
    ticket: str
    warnings: Warnings = ()


class ResetDone(Message, frozen=True, tag="reset"):
    """The reply to :class:`Reset`.

    Attributes:
        seeded: False if the environment took no seed, or a verified one had no effect; True if a verified one had;
            otherwise None.
        plain_numbers: Whether the elements of Discrete spaces are integers of Python, and not of NumPy, in the
            environment's observations.
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
        reward_type: In the reply to the first step, the type of the reward in the environment if it is not a float of
            Python: ``int``, or the name of a dtype of NumPy.
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
        observations: The last observation, or all: in a list, or one after the other in one ``bin``.
        rewards: The rewards of all steps.
        terminated: The flag of the last step.
        truncated: The flag of the last step.
        count: The number of steps taken; fewer than requested if the episode ended.
        info: The info of the last step.
        omitted: The places of what is left out of the info.
        warnings: What the client should know of its request.
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
    """The reply to :class:`StepReady`: of the environments that are done, in the order of their indices.

    Attributes:
        observations: Their observations, each a value of one environment: in a list, or one after the other in one
            ``bin``.
        env_ids: Their indices.
        rewards: Their rewards.
        terminated: Their flags.
        truncated: Their flags.
        info: Their infos, merged as those of a vector environment that has only them.
        omitted: The places of what is left out of the info.
        warnings: What the client should know of its request.
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
        value: The value; for a vector environment a list with one for each environment.
        callable: Whether it is a method; then there is no value.
        warnings: What the client should know of its request.
    """

    value: Any = None
    callable: bool = False
    warnings: Warnings = ()


class AttributeSet(Message, frozen=True, tag="set"):
    """The reply to :class:`Set`."""

    warnings: Warnings = ()


class Called(Message, frozen=True, tag="call"):
    """The reply to :class:`Call`: what the method returned, for a vector environment a list with one for each."""

    value: Any = None
    warnings: Warnings = ()


class Shared(Message, frozen=True, tag="share"):
    """The reply to :class:`Share`.

    Attributes:
        address: The address of the socket that receives the descriptor, in Linux's abstract namespace; None after that.
        token: The token to send with the descriptor; None likewise.
        warnings: What the client should know of its request.
    """

    address: str | None = None
    token: str | None = None
    warnings: Warnings = ()


class Closed(Message, frozen=True, tag="close"):
    """The reply to :class:`Close`; the server closes the connection."""

    warnings: Warnings = ()


class ListedEnv(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An environment that a server has, as far as it is known without making it.

    Attributes:
        id: The id; those of Gym begin with ``gym:``.
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
        warnings: What the client should know of its request.
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
        environments: The indices of the environments that it is about, if there are several that step together.
        warnings: What the client should know of its request besides.
        exception: The name of Python's built-in exception that the environment raised; empty if there is none.
    """

    code: str
    message: str
    fault: Fault
    reset_needed: bool = False
    environments: tuple[int, ...] = ()
    warnings: Warnings = ()
    exception: str = ""

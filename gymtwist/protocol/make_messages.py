"""The messages of the framed protocol by which a session begins: `make`, and what a server may reply to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from gymtwist.protocol.messages import (
    MAX_ENVIRONMENTS,
    MAX_ID,
    MAX_TOKEN,
    VERSION,
    Message,
    Name,
    Omitted,
    ResumeSeconds,
    Seed,
    Short,
    ValueForm,
    Warnings,
)
from gymtwist.spaces.descriptions import Description
from gymtwist.spaces.layout import Layout

#: The most wrappers around one environment, or around a vector environment.
MAX_WRAPPERS = 16
#: The most seeds of one of several environments, for resets that have none.
MAX_SEEDS = 10_000
#: The most snapshots that one session may ask to keep.
MAX_SNAPSHOTS = 10_000
#: The longest ticket of a snapshot in characters.
MAX_TICKET = 128
#: The longest name of a dataset in characters, and the most MiB that a client may limit it to.
MAX_DATASET_NAME, MAX_MEGABYTES = 200, 1_000_000_000

AutoresetMode: TypeAlias = Literal["next_step", "same_step", "disabled"]
VectorizationMode: TypeAlias = Literal["sync", "async", "vector_entry_point"]
#: Which infos the server sends: those of every step, of resets and of steps that end an episode, or none.
InfoWanted: TypeAlias = Literal["all", "episode", "none"]
#: What an exception of one of several environments does: it is an error, or ends the episode of this environment.
OnFailure: TypeAlias = Literal["raise", "truncate"]
#: How the frames of recorded episodes are stored.
RecordedFrames: TypeAlias = Literal["none", "video", "lossless"]


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

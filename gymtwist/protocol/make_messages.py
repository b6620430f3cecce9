"""The messages of the framed protocol that begin a session: `make`, and a server's possible replies."""

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

#: The maximum number of wrappers around one environment, or around a vector environment.
MAX_WRAPPERS = 16
#: The maximum number of seeds of one of several environments, for resets without a seed.
MAX_SEEDS = 10_000
#: The maximum number of snapshots that a session may ask to keep.
MAX_SNAPSHOTS = 10_000
#: The maximum length of a snapshot's ticket in characters.
MAX_TICKET = 128
#: The maximum length of a dataset's name in characters, and the largest limit in MiB that a client may set for it.
MAX_DATASET_NAME, MAX_MEGABYTES = 200, 1_000_000_000

AutoresetMode: TypeAlias = Literal["next_step", "same_step", "disabled"]
VectorizationMode: TypeAlias = Literal["sync", "async", "vector_entry_point"]
#: Which infos the server sends: those of every step; of resets and of steps that end an episode; or none.
InfoWanted: TypeAlias = Literal["all", "episode", "none"]
#: What an exception in one of several environments does: it is an error, or ends that environment's episode.
OnFailure: TypeAlias = Literal["raise", "truncate"]
#: How the frames of recorded episodes are stored.
RecordedFrames: TypeAlias = Literal["none", "video", "lossless"]


class Wrapper(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """A wrapper that the server puts around each environment, or around a vector environment.

    Attributes:
        name: The class: from ``gymnasium.wrappers`` or ``gymnasium.wrappers.vector``, or ``module:Class``.
        kwargs: The keyword arguments of the constructor besides the environment.
    """

    name: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
    kwargs: dict[str, Any] = {}


class OwnOptions(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """The options that one of several environments has of its own.

    Attributes:
        id: The environment's id; None for the message's.
        kwargs: The environment's keyword arguments, besides those of the message.
        options: The options for resets without options.
        seeds: The seeds for resets without a seed, in order; resets after the last of them have no seed.
    """

    id: Name | None = None
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    seeds: Annotated[list[Seed], Meta(max_length=MAX_SEEDS)] = []


class Recording(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, forbid_unknown_fields=True):
    """How episodes are recorded into a Minari dataset at the server.

    Attributes:
        dataset: The name of the dataset, such as ``lab/cartpole-v0``.
        append: Whether to add to an existing dataset; otherwise, an existing one is an error.
        infos: Whether to record infos, too.
        frames: Whether to record frames: as a ``video`` for each episode, or ``lossless`` among its infos.
        compression: The gzip level for large arrays; 0 for no compression.
        episodes: Stop recording once this many episodes have terminated or been truncated; None to record all.
        megabytes: The maximum MiB of the dataset on disk; None for no limit except the operator's.
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
        id: The environment's id, as registered by Gymnasium or Gym.
        kwargs: The keyword arguments of the environment.
        render_mode: See ``gymnasium.make``.
        num_envs: The number of environments; None for a single one that is not a vector environment.
        vectorization_mode: How several environments are stepped; None for the default of ``gymnasium.make_vec``.
        autoreset_mode: When one of several environments is reset after the end of its episode.
        max_episode_steps: The number of steps after which an episode is truncated; None for the registered number, -1
            to never truncate.
        info: Which infos the server sends.
        values: The form of values in JSON.
        token: The client's token, if the server requires one.
        version: The client's version of the protocol.
        vector_rewards: Whether the client accepts rewards that are arrays.
        report_queue: Whether to send :class:`Queued` while the client waits for a session.
        wrappers: The wrappers around each environment, innermost first.
        lenient: Whether actions may be outside the bounds of a Box, and steps may continue after the end of an episode.
        each: The own options of each of several environments; empty if all are alike.
        on_failure: Whether an exception in one of several environments is an error, or the end of its episode.
        vector_wrappers: The wrappers around the vector environment, innermost first.
        branch: The ticket of a snapshot to continue from, whose session was made by the same message without this
            field; empty for a new environment.
        record: How episodes are recorded into a dataset at the server; None if they are not.
        direct: Whether to send :class:`Moved` if the environment will run on a node of a cluster.
        keep_snapshots: Keep only this many snapshots, the latest ones, and return to the latest if the environment's
            process crashes; 0 to keep all, and to make a new environment after a crash.
        resume: How many seconds the session should wait for the client if the connection is lost; None to end then.
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
    """The server's limits: seconds between requests, seconds of a step (None for no limit), bytes of a payload."""

    idle_timeout: float | None
    step_timeout: float | None
    max_frame: int


class Resumable(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a client needs to resume its session if the connection is lost.

    Attributes:
        secret: What the client then sends; anybody who has it can take over the session.
        seconds: How long the session waits, in seconds.
        kept: How many bytes of replies the server keeps so as to send them again; the last reply is always kept.
    """

    secret: str
    seconds: float
    kept: int


class Made(Message, frozen=True, tag="make"):
    """The reply to :class:`Make`.

    Attributes:
        action_space: The description of the action space; for vector environments, of the batched space.
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
        shared_memory: Whether a client on the server's host may share memory with the server; see :class:`Share`.
        version: The server's version of the protocol.
        omitted: The places of values omitted from the metadata and the spec; see :data:`Omitted`.
        reward_space: The space of rewards that are arrays; for vector environments, of one environment's rewards.
        wrappers: The number of requested wrappers that were added; a server may not know this field.
        each: The number of environments with own options, likewise.
        vector_wrappers: The number of wrappers around the vector environment, likewise.
        step_ready: Whether environments can be stepped separately; see :class:`StepReady`.
        branched: Whether the environment continues from a snapshot, as requested.
        recording: The name of the dataset that episodes are recorded into; None if they are not.
        resume: What the client needs to resume the session after losing the connection; None if the session then ends.
        warnings: What the client should know about its request.
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
    """The server is full. If the first request asks for it, this is sent before the reply, and at each move up.

    Attributes:
        place: The client's place in the queue, from 1.
        warnings: What the client should know about its request.
    """

    place: int
    warnings: Warnings = ()


class Moved(Message, frozen=True, tag="moved"):
    """The session is on a node. If the first request asks for it, this is sent before the reply.

    Attributes:
        host: The IP address of the node.
        port: The port of the node.
        ticket: What a connection to the node must begin with, followed by a line end.
        warnings: What the client should know about its request.
    """

    host: str
    port: int
    ticket: str
    warnings: Warnings = ()

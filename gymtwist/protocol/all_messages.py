"""All requests and replies of the framed protocol, which the codec distinguishes by ``op``."""

from __future__ import annotations

from typing import TypeAlias

from gymtwist.protocol.agent_messages import (
    AgentsDescribed,
    AgentsMade,
    AgentsObserved,
    AgentsReset,
    AgentsStepped,
    DescribeAgents,
    GetState,
    GotState,
    MakeAgents,
    ObserveAgents,
    ResetAgents,
    StepAgents,
)
from gymtwist.protocol.make_messages import Made, Make, Moved, Queued
from gymtwist.protocol.messages import (
    AttributeSet,
    Call,
    Called,
    Close,
    Closed,
    Envs,
    EnvsListed,
    Error,
    Get,
    Got,
    Monitor,
    Monitored,
    Render,
    Rendered,
    Reset,
    ResetDone,
    Sample,
    Sampled,
    Set,
    Share,
    Shared,
    Step,
    StepMany,
    Stepped,
    SteppedMany,
    SteppedReady,
    StepReady,
)
from gymtwist.protocol.resume_messages import Resume, Resumed
from gymtwist.protocol.snapshot_messages import Release, Released, Restore, Restored, Snapshot, SnapshotTaken

Request: TypeAlias = (
    Make
    | Reset
    | Step
    | StepMany
    | StepReady
    | Sample
    | Render
    | Monitor
    | Get
    | Set
    | Call
    | Share
    | Close
    | Envs
    | MakeAgents
    | ResetAgents
    | StepAgents
    | ObserveAgents
    | DescribeAgents
    | GetState
    | Snapshot
    | Restore
    | Release
    | Resume
)
Reply: TypeAlias = (
    Queued
    | Moved
    | Made
    | ResetDone
    | Stepped
    | SteppedMany
    | SteppedReady
    | Sampled
    | Rendered
    | Monitored
    | Got
    | AttributeSet
    | Called
    | Shared
    | Closed
    | EnvsListed
    | AgentsMade
    | AgentsReset
    | AgentsStepped
    | AgentsObserved
    | AgentsDescribed
    | GotState
    | SnapshotTaken
    | Restored
    | Released
    | Resumed
    | Error
)

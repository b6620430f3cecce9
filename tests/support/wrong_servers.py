"""For each check of the conformance suite a server that it must find."""

from __future__ import annotations

import random
from typing import Any

from tests.support.mutating_proxy import Told
from tests.support.reply_mutations import (
    Anew,
    Bending,
    Clipping,
    ClippingFloats,
    Deaf,
    Early,
    FirstOfRead,
    Forbidding,
    Fragile,
    Guessing,
    Lonely,
    Open,
    Playing,
    ReadsAreFrames,
    Rounding,
    Short,
    Silent,
    Swapping,
    Tired,
    Unrewarding,
    Zeros,
    answers,
    coded,
    requests,
    without,
)
from tests.support.shared_memory_mutations import Settled, Startled, Trusting, Unbelled, Withholding


def _seeded(told: Told, value: Any, op: str = "reset") -> None:
    if told.get("op") == op:
        told["seed"] = value


def _fewer(told: Told) -> None:
    if isinstance(told.get("count"), int) and told["count"] > 1:
        told["count"] -= 1


def _first_seed(told: Told) -> None:
    if isinstance(told.get("seed"), list) and told["seed"]:
        told["seed"] = told["seed"][0]


def _single(told: Told) -> None:
    _first_seed(told)
    told.pop("mask", None)


def _typed(told: Told) -> None:
    if type(told.get("seed")) is not int or told["seed"] < 0:
        told.pop("seed", None)


def _unwilling(told: Told) -> None:
    told.clear()
    told.update(op="error", code="sharing-refused", message="not today", fault="request")


def _another_token(told: Told) -> None:
    if "token" in told:
        told["token"] = told["token"][::-1]


#: For each check a server that it must find, and how it is to be asked: in which framings.
WRONG: dict[str, Bending] = {
    "framing.whole-frames": without("seed", op="reset"),
    "framing.byte-by-byte": ReadsAreFrames,
    "framing.glued": FirstOfRead,
    "framing.cut-anywhere": ReadsAreFrames,
    "framing.over-the-limit": Deaf,
    "framing.over-the-limit-at-once": Deaf,
    "framing.a-header-that-is-none": Silent,
    "framing.an-end-that-is-none": Open,
    "framing.a-payload-that-is-none": Silent,
    "framing.no-object": coded("malformed-message"),
    "framing.nested-too-deep": Silent,
    "framing.too-many-parts": Silent,
    "framing.half-a-frame": Fragile,
    "make.what-is-told": answers(lambda told: told.update(server=""), "make"),
    "make.layouts-follow-from-the-spaces": answers(lambda told: told.pop("observation_layout"), "make"),
    "make.unknown-fields": Forbidding,
    "make.an-unknown-environment": coded("unknown-environment"),
    "make.refused-kwargs": without("kwargs"),
    "make.invalid-fields": answers(lambda told: told.update(message="wrong"), "error"),
    "make.no-id": requests(lambda told: told.setdefault("id", "CartPole-v1")),
    "make.a-newer-version": without("version"),
    "make.comes-first": Silent,
    "make.comes-once": Anew,
    "make.max-episode-steps": without("max_episode_steps"),
    "make.infos-that-are-wanted": without("info"),
    "make.limits-that-are-told": answers(lambda told: told["limits"].update(max_frame=0), "make"),
    "episode.begins-with-reset": coded("reset-needed"),
    "episode.ends": answers(lambda told: told.pop("reset_needed", None), "error"),
    "episode.reset-in-the-middle": Playing,
    "episode.same-seed": without("seed"),
    "episode.another-seed": requests(lambda told: _seeded(told, 7) if "seed" in told else None),
    "episode.no-seed": requests(lambda told: None if "seed" in told else _seeded(told, random.randrange(1 << 30))),
    "episode.sample": without("seed", op="sample"),
    "episode.sample-is-random": requests(lambda told: _seeded(told, 0, "sample")),
    "episode.step-many": answers(lambda told: told.update(count=told["count"] + 1), "step_many"),
    "episode.step-many-with-one-action": requests(_fewer),
    "episode.step-many-stops": without("max_episode_steps"),
    "episode.render": answers(lambda told: told.update(frame=7), "render"),
    "episode.render-without-a-mode": answers(lambda told: told.update(fault="environment"), "error"),
    "episode.close": Open,
    "values.fit-their-spaces": Short,
    "values.as-base64": Zeros,
    "values.in-both-framings": Rounding,
    "pipelining.in-order": Swapping,
    "pipelining.of-all-kinds": Swapping,
    "pipelining.without-reading": Tired,
    "pipelining.before-the-environment-is-made": FirstOfRead,
    "pipelining.two-connections": Lonely,
    "refusal.an-unknown-operation": Silent,
    "refusal.no-operation": answers(lambda told: told.update(fault="protocol"), "error"),
    "refusal.missing-field": Guessing,
    "refusal.bad-seed": requests(_typed),
    "refusal.fields-of-vectors": requests(_single),
    "refusal.bad-options": without("options"),
    "refusal.bad-step-many": coded("invalid-field"),
    "refusal.discrete-action": Clipping,
    "refusal.one-of-many-actions": Early,
    "refusal.wrong-base64": answers(lambda told: told.update(reset_needed=True), "error"),
    "refusal.continuous-action": ClippingFloats,
    "vector.what-is-told": answers(lambda told: told.pop("single_action_space", None), "make"),
    "vector.seeds": requests(_first_seed),
    "vector.one-seed": without("seed"),
    "vector.steps-as-single-ones": Unrewarding,
    "vector.reset-by-themselves": requests(
        lambda told: told.update(autoreset_mode="same_step") if "autoreset_mode" in told else None
    ),
    "vector.reset-by-mask": without("mask"),
    "vector.step-many": requests(_fewer),
    "vector.wrong-requests": coded("invalid-field"),
    "vector.single-actions": coded("invalid-action"),
    "sharing.steps-as-through-the-socket": answers(_unwilling, "share"),
    "sharing.a-bell": Unbelled,
    "sharing.bells-for-nothing": Startled,
    "sharing.either-way": Swapping,
    "sharing.a-reply-that-does-not-fit": Withholding,
    "sharing.a-place-for-the-reply": Unbelled,
    "sharing.a-place-outside-the-room": Open,
    "sharing.a-length-that-is-none": Open,
    "sharing.sharing-anew": Settled,
    "sharing.unsealed-memory": Trusting,
    "sharing.memory-of-another-size": Trusting,
    "sharing.no-memory-at-all": Trusting,
    "sharing.rooms-without-a-handover": Trusting,
    "sharing.another-token": answers(_another_token, "share"),
    "sharing.of-a-process-that-dies": Silent,
    "fault.of-an-environment-that-raises": answers(lambda told: told.update(fault="request"), "error"),
    "fault.of-an-environment-that-dies": Silent,
    "fault.requests-behind-it": answers(lambda told: told.pop("reset_needed", None), "error"),
}
#: Checks that are about netstrings and JSON alone.
TEXT_ONLY = {
    "framing.over-the-limit-at-once",
    "framing.an-end-that-is-none",
    "values.as-base64",
    "refusal.wrong-base64",
}

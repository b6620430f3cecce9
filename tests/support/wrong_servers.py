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


def _no_null(told: Told) -> None:
    told.update({name: "null" for name, each in told.items() if each is None})


def _flags_only(told: Told) -> None:
    if 1 in (told.get("mask") or ()) and not any(each is True for each in told["mask"]):
        told.pop("mask")


def _no_floats(told: Told) -> None:
    told.update({name: each + 0.5 for name, each in told.items() if isinstance(each, float)})


#: For each check a server that it must find, and how it is to be asked: in which framings.
WRONG: dict[str, Bending] = {
    "framing.whole-frames": without("seed", op="reset"),
    "framing.byte-by-byte": ReadsAreFrames,
    "framing.coalesced-frames": FirstOfRead,
    "framing.split-frames": ReadsAreFrames,
    "framing.frame-over-limit": Deaf,
    "framing.first-frame-over-limit": Deaf,
    "framing.malformed-header": Silent,
    "framing.missing-comma": Open,
    "framing.malformed-payload": Silent,
    "framing.payload-is-not-an-object": coded("malformed-message"),
    "framing.deep-nesting": Silent,
    "framing.too-many-items": Silent,
    "framing.truncated-frame": Fragile,
    "make.reply-fields": answers(lambda told: told.update(server=""), "make"),
    "make.layouts": answers(lambda told: told.pop("observation_layout"), "make"),
    "make.unknown-fields": Forbidding,
    "make.unknown-environment": coded("unknown-environment"),
    "make.unknown-kwargs": without("kwargs"),
    "make.invalid-fields": answers(lambda told: told.update(message="wrong"), "error"),
    "make.missing-id": requests(lambda told: told.setdefault("id", "CartPole-v1")),
    "make.newer-version": without("version"),
    "make.request-before-make": Silent,
    "make.second-make": Anew,
    "make.max-episode-steps": without("max_episode_steps"),
    "make.info-selection": without("info"),
    "make.positive-limits": answers(lambda told: told["limits"].update(max_frame=0), "make"),
    "episode.step-before-reset": coded("reset-needed"),
    "episode.step-after-end": answers(lambda told: told.pop("reset_needed", None), "error"),
    "episode.reset-during-episode": Playing,
    "episode.same-seed": without("seed"),
    "episode.verified-seed": answers(lambda told: told.update(seeded=False) if "seeded" in told else None, "reset"),
    "episode.different-seeds": requests(lambda told: _seeded(told, 7) if "seed" in told else None),
    "episode.reset-without-seed": requests(
        lambda told: None if "seed" in told else _seeded(told, random.randrange(1 << 30))
    ),
    "episode.sample": without("seed", op="sample"),
    "episode.random-samples": requests(lambda told: _seeded(told, 0, "sample")),
    "episode.step-many": answers(lambda told: told.update(count=told["count"] + 1), "step_many"),
    "episode.step-many-repeated-action": requests(_fewer),
    "episode.step-many-stops-at-end": without("max_episode_steps"),
    "episode.render": answers(lambda told: told.update(frame=7), "render"),
    "episode.render-without-mode": answers(lambda told: told.update(fault="environment"), "error"),
    "episode.close": Open,
    "values.within-spaces": Short,
    "values.base64": Zeros,
    "values.both-framings": Rounding,
    "values.vector-rewards": without("vector_rewards"),
    "pipelining.steps-in-order": Swapping,
    "pipelining.mixed-requests": Swapping,
    "pipelining.unread-replies": Tired,
    "pipelining.requests-behind-make": FirstOfRead,
    "pipelining.two-connections": Lonely,
    "refusal.unknown-operation": Silent,
    "refusal.missing-operation": answers(lambda told: told.update(fault="protocol"), "error"),
    "refusal.missing-action": Guessing,
    "refusal.invalid-seed": requests(_typed),
    "refusal.vector-fields": requests(_single),
    "refusal.invalid-options": without("options"),
    "refusal.invalid-step-many": coded("invalid-field"),
    "refusal.invalid-discrete-action": Clipping,
    "refusal.one-invalid-action-of-many": Early,
    "refusal.invalid-base64": answers(lambda told: told.update(reset_needed=True), "error"),
    "refusal.invalid-continuous-action": ClippingFloats,
    "forms.null-fields": requests(_no_null),
    "forms.whole-floats": requests(_no_floats),
    "forms.empty-lists": requests(lambda told: told.update({name: [0] for name in told if told[name] == []})),
    "forms.numbers-for-flags": requests(_flags_only),
    "forms.text-for-bytes": requests(lambda told: isinstance(told.get("action"), str) and told.update(action="")),
    "forms.unknown-fields": answers(lambda told: told.pop("warnings", None), "reset"),
    "vector.reply-fields": answers(lambda told: told.pop("single_action_space", None), "make"),
    "vector.seed-list": requests(_first_seed),
    "vector.single-seed": without("seed"),
    "vector.matches-single-environments": Unrewarding,
    "vector.autoreset-next-step": requests(
        lambda told: told.update(autoreset_mode="same_step") if "autoreset_mode" in told else None
    ),
    "vector.masked-reset": without("mask"),
    "vector.step-many": requests(_fewer),
    "vector.invalid-requests": coded("invalid-field"),
    "vector.action-for-one": coded("invalid-action"),
    "sharing.matches-socket": answers(_unwilling, "share"),
    "sharing.doorbell": Unbelled,
    "sharing.spurious-doorbells": Startled,
    "sharing.mixed-transports": Swapping,
    "sharing.oversized-reply": Withholding,
    "sharing.reply-slot": Withholding,
    "sharing.slot-out-of-bounds": Open,
    "sharing.invalid-length": Open,
    "sharing.share-again": Settled,
    "sharing.unsealed-memory": Trusting,
    "sharing.memory-of-wrong-size": Trusting,
    "sharing.not-memory": Trusting,
    "sharing.rooms-without-memory": Trusting,
    "sharing.wrong-token": answers(_another_token, "share"),
    "sharing.worker-death": Silent,
    "fault.environment-raises": answers(lambda told: told.update(fault="request"), "error"),
    "fault.environment-dies": Silent,
    "fault.requests-behind-fault": answers(lambda told: told.pop("reset_needed", None), "error"),
}
#: Checks that are about netstrings and JSON alone.
TEXT_ONLY = {
    "framing.first-frame-over-limit",
    "framing.missing-comma",
    "values.base64",
    "refusal.invalid-base64",
}
#: Checks that are about MessagePack alone.
BINARY_ONLY = {"forms.text-for-bytes"}

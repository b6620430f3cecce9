"""For each check of the conformance suite a server that it must find."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from tests.support.mutating_proxy import Message
from tests.support.reply_mutations import (
    Anew,
    Clipping,
    ClippingFloats,
    Deaf,
    Early,
    FirstOfRead,
    Forbidding,
    Fragile,
    Guessing,
    Hospitable,
    Lonely,
    MutationFactory,
    Open,
    Playing,
    ReadsAreFrames,
    Rounding,
    Short,
    Silent,
    Swapping,
    Tired,
    Unrewarding,
    Unsigned,
    Zeros,
    answers,
    coded,
    refuses,
    requests,
    sends,
    without,
)
from tests.support.shared_memory_mutations import Settled, Startled, Trusting, Unbelled, Withholding


def _seeded(message: Message, value: Any, op: str = "reset") -> None:
    if message.get("op") == op:
        message["seed"] = value


def _fewer(message: Message) -> None:
    if isinstance(message.get("count"), int) and message["count"] > 1:
        message["count"] -= 1


def _begin_only(message: Message) -> None:
    if message["op"] == "step_ready":
        message.update(op="sample")
        message.pop("min_ready", None)


def _first_seed(message: Message) -> None:
    if isinstance(message.get("seed"), list) and message["seed"]:
        message["seed"] = message["seed"][0]


def _single(message: Message) -> None:
    _first_seed(message)
    message.pop("mask", None)


def _typed(message: Message) -> None:
    if type(message.get("seed")) is not int or message["seed"] < 0:
        message.pop("seed", None)


def _unwilling(message: Message) -> None:
    message.clear()
    message.update(op="error", code="sharing-refused", message="not today", fault="request")


def _another_token(message: Message) -> None:
    if "token" in message:
        message["token"] = message["token"][::-1]


def _no_null(message: Message) -> None:
    message.update({name: "null" for name, each in message.items() if each is None})


def _flags_only(message: Message) -> None:
    if 1 in (message.get("mask") or ()) and not any(each is True for each in message["mask"]):
        message.pop("mask")


def _no_floats(message: Message) -> None:
    message.update({name: each + 0.5 for name, each in message.items() if isinstance(each, float)})


def _text_for_numbers(message: Message) -> None:
    options = message.get("options") or {}
    if options.get("a") == "-Infinity":
        options["a"] = "\\-Infinity"
    elif "a" in options:
        options["a"] = "-Infinity"


def _float_keywords(message: Message) -> None:
    if message.get("op") == "make" and message["kwargs"].get("count"):
        message["kwargs"]["count"] += 0.5


def _lists_only(message: Message) -> None:
    action = message.get("action")
    if isinstance(action, dict) and isinstance(action["number"], float):
        message["op"] = "fly"


def _fewer_values(message: Message) -> None:
    if message.get("op") == "set" and isinstance(message.get("value"), list):
        message["value"] = message["value"][:3]


def _no_values(message: Message) -> None:
    if message.get("op") == "set" and "value" in message:
        message["value"] = 0


_ranges_of_dtypes = answers(
    lambda message: message.update(message="action is 1000: send an integer from -128 to 127"), "error"
)


#: For each check a server that it must find, and how it is to be asked: in which framings.
def _other_code(data: bytes) -> bytes:
    return data[:2] + b"\x03\xff" + data[4:] if data[:1] == b"\x88" else data


WRONG: dict[str, MutationFactory] = {
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
    "make.reply-fields": answers(lambda message: message.update(server=""), "make"),
    "make.layouts": answers(lambda message: message.pop("observation_layout"), "make"),
    "make.unknown-fields": Forbidding,
    "make.unknown-environment": coded("unknown-environment"),
    "make.unknown-kwargs": without("kwargs"),
    "make.unknown-wrapper": without("wrappers"),
    "make.recording": without("record"),
    "make.invalid-fields": answers(lambda message: message.update(message="wrong"), "error"),
    "make.missing-id": requests(lambda message: message.setdefault("id", "CartPole-v1")),
    "make.newer-version": without("version"),
    "make.request-before-make": Silent,
    "make.second-make": Anew,
    "make.max-episode-steps": without("max_episode_steps"),
    "make.info-selection": without("info"),
    "make.positive-limits": answers(lambda message: message["limits"].update(max_frame=0), "make"),
    "make.report-queue": answers(lambda message: message.update(place=1), "queued"),
    "envs.pages": without("after", op="envs"),
    "envs.make-after-list": Anew,
    "envs.list-during-episode": requests(lambda message: message.get("op") == "envs" and message.update(op="reset")),
    "envs.invalid-fields": answers(lambda message: message.update(message="wrong"), "error"),
    "episode.step-before-reset": coded("reset-needed"),
    "episode.step-after-end": answers(lambda message: message.pop("reset_needed", None), "error"),
    "episode.reset-during-episode": Playing,
    "episode.same-seed": without("seed"),
    "episode.verified-seed": answers(
        lambda message: message.update(seeded=False) if "seeded" in message else None, "reset"
    ),
    "episode.different-seeds": requests(lambda message: _seeded(message, 7) if "seed" in message else None),
    "episode.reset-without-seed": requests(
        lambda message: None if "seed" in message else _seeded(message, random.randrange(1 << 30))
    ),
    "episode.sample": without("seed", op="sample"),
    "episode.random-samples": requests(lambda message: _seeded(message, 0, "sample")),
    "episode.step-many": answers(lambda message: message.update(count=message["count"] + 1), "step_many"),
    "episode.step-many-repeated-action": requests(_fewer),
    "episode.step-many-stops-at-end": without("max_episode_steps"),
    "episode.render": answers(lambda message: message.update(frame=7), "render"),
    "episode.render-before-reset": without("before_reset"),
    "episode.plain-numbers": answers(lambda message: message.update(plain_numbers=True), "reset"),
    "episode.reward-type": answers(lambda message: message.update(reward_type="int"), "step"),
    "episode.render-without-mode": answers(lambda message: message.update(fault="environment"), "error"),
    "episode.lenient": without("lenient"),
    "episode.monitor-stop": answers(lambda message: message.update(warnings="none"), "monitor"),
    "episode.close": Open,
    "values.within-spaces": Short,
    "values.base64": Zeros,
    "values.both-framings": Rounding,
    "values.vector-rewards": without("vector_rewards"),
    "values.omitted": answers(lambda message: message.pop("omitted", None), "reset"),
    "pipelining.steps-in-order": Swapping,
    "pipelining.mixed-requests": Swapping,
    "pipelining.unread-replies": Tired,
    "pipelining.requests-behind-make": FirstOfRead,
    "pipelining.two-connections": Lonely,
    "refusal.unknown-operation": Silent,
    "refusal.missing-operation": answers(lambda message: message.update(fault="protocol"), "error"),
    "refusal.missing-action": Guessing,
    "refusal.invalid-seed": requests(_typed),
    "refusal.vector-fields": requests(_single),
    "refusal.invalid-options": without("options"),
    "refusal.invalid-step-many": coded("invalid-field"),
    "refusal.invalid-discrete-action": Clipping,
    "refusal.one-invalid-action-of-many": Early,
    "refusal.invalid-base64": answers(lambda message: message.update(reset_needed=True), "error"),
    "refusal.invalid-continuous-action": ClippingFloats,
    "forms.null-fields": requests(_no_null),
    "forms.whole-floats": requests(_no_floats),
    "forms.empty-lists": requests(
        lambda message: message.update({name: [0] for name in message if message[name] == []})
    ),
    "forms.numbers-for-flags": requests(_flags_only),
    "forms.text-for-bytes": requests(
        lambda message: isinstance(message.get("action"), str) and message.update(action="")
    ),
    "forms.unknown-fields": answers(lambda message: message.pop("warnings", None), "reset"),
    "forms.undefined": refuses(lambda value: isinstance(value, msgspec.msgpack.Ext), "kwargs"),
    "forms.timestamps": coded("malformed-message"),
    "forms.text-around-json": Deaf,
    "forms.bare-words": answers(lambda message: message.update(message="invalid character"), "error"),
    "forms.vector-of-one": refuses(lambda value: value is True, "mask"),
    "forms.ranges": _ranges_of_dtypes,
    "forms.words-of-errors": answers(lambda message: message.update(message="expected `str`, got `list`"), "error"),
    "forms.actions-as-in-json": refuses(lambda value: isinstance(value, float), "action"),
    "forms.whole-floats-in-actions": refuses(lambda value: isinstance(value, float) and value == 2, "action"),
    "forms.booleans": refuses(lambda value: isinstance(value, bool), "action"),
    "forms.lone-values": requests(_lists_only),
    "forms.empty-parts": requests(
        lambda message: message.get("op") == "step" and message["action"]["list"] == {} and message.update(op="fly")
    ),
    "forms.objects-with-indices": refuses(lambda value: isinstance(value, dict) and "0" in value, "action"),
    "forms.bytes-that-are-not-text": Deaf,
    "forms.sign-of-zero": Unsigned,
    "forms.numbers-that-are-not-finite": requests(_text_for_numbers),
    "forms.integer-keyword": requests(_float_keywords),
    "forms.ranges-of-parts": _ranges_of_dtypes,
    "attribute.attribute": requests(_no_values),
    "attribute.repr": without("repr"),
    "attribute.several": requests(_fewer_values),
    "attribute.unreachable": coded("attribute-refused"),
    "vector.each": without("each"),
    "vector.unknown-wrapper": without("vector_wrappers"),
    "snapshot.restore": answers(lambda message: message.update(playing=False), "restore"),
    "snapshot.pipelined": FirstOfRead,
    "snapshot.release": coded("unknown-snapshot"),
    "snapshot.branch": answers(lambda message: message.pop("branched", None), "make"),
    "resume.reply": answers(lambda message: message.update(received=3), "resume"),
    "resume.request": answers(lambda message: message.update(received=2), "resume"),
    "resume.restart": requests(lambda message: message.get("received", 0) is None and message.update(received=4)),
    "resume.takeover": answers(lambda message: message.update(received=0), "resume"),
    "resume.secret": coded("unknown-session"),
    "agents.at-once": answers(lambda message: message["observations"].popitem(), "step_agents"),
    "agents.in-turn": answers(lambda message: message.pop("selection", None), "step_agents"),
    "agents.observe": answers(lambda message: message.pop("observations"), "observe_agents"),
    "agents.kinds-of-sessions": coded("bad-request"),
    "vector.reply-fields": answers(lambda message: message.pop("single_action_space", None), "make"),
    "vector.seed-list": requests(_first_seed),
    "vector.single-seed": without("seed"),
    "vector.matches-single-environments": Unrewarding,
    "vector.autoreset-next-step": requests(
        lambda message: message.update(autoreset_mode="same_step") if "autoreset_mode" in message else None
    ),
    "vector.masked-reset": without("mask"),
    "vector.step-many": requests(_fewer),
    "vector.step-ready": answers(lambda message: message.update(env_ids=[0]), "step_ready"),
    "vector.step-ready-refused": requests(_begin_only),
    "vector.invalid-requests": coded("invalid-field"),
    "vector.action-for-one": coded("invalid-action"),
    "vector.environments-of-errors": answers(lambda message: message.pop("environments", None), "error"),
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
    "fault.environment-raises": answers(lambda message: message.update(fault="request"), "error"),
    "fault.environment-dies": Silent,
    "fault.exception": answers(lambda message: message.update(exception="door"), "error"),
    "fault.truncation": without("on_failure"),
    "fault.requests-behind-fault": answers(lambda message: message.pop("reset_needed", None), "error"),
    "websocket.session": sends(lambda data: data if data[:1] == b"H" else bytes([data[0] | 0x40]) + data[1:]),
    "websocket.fragments-and-pings": sends(lambda data: b"" if data[:1] == b"\x8a" else data),
    "websocket.close-code": sends(_other_code),
    "websocket.unmasked-frame": sends(_other_code),
    "websocket.other-kind": sends(_other_code),
    "websocket.invalid-text": sends(_other_code),
    "websocket.message-over-limit": sends(_other_code),
    "websocket.page-of-another-site": Hospitable,
}
#: Checks that are about netstrings and JSON alone.
TEXT_ONLY = {
    "framing.first-frame-over-limit",
    "framing.missing-comma",
    "values.base64",
    "refusal.invalid-base64",
    "forms.text-around-json",
    "forms.bare-words",
    "forms.sign-of-zero",
    "websocket.invalid-text",
}
#: Checks that are about MessagePack alone.
BINARY_ONLY = {
    "forms.text-for-bytes",
    "forms.undefined",
    "forms.timestamps",
    "forms.actions-as-in-json",
    "forms.bytes-that-are-not-text",
}

"""Frames are read however they arrive, and anything else is refused."""

from __future__ import annotations

import pytest

from gymtwist_conformance.reference_client import encode, frame
from gymtwist_conformance.server_checks.subject import (
    SEED,
    Probe,
    Subject,
    expect_same,
    play,
    reference,
    undisturbed,
)


def _frames(subject: Subject, probe: Probe) -> bytes:
    """Encode a whole session of three steps."""
    actions, _ = reference(subject, 3)
    dump = subject.session().actions.dump
    return b"".join(
        [
            probe.encoded("make", **subject.fields()),
            probe.encoded("reset", seed=SEED),
            *(probe.encoded("step", action=dump(action)) for action in actions),
            probe.encoded("close"),
        ]
    )


def _read(subject: Subject, probe: Probe, what: str) -> None:
    """Read the replies to the frames of a session, which must be the same as in any other session."""
    _, expected = reference(subject, 3)
    probe.read_made()
    found = [probe.read_reset()[0], *(probe.read_step() for _ in expected[1:])]
    expect_same(found, expected, f"a session {what}")
    probe.reply("close")


def test_whole_frames(subject: Subject) -> None:
    """A session in whole frames, each sent after the reply to the previous one, is served."""
    actions, expected = reference(subject, 3)
    expect_same(play(subject.session(), actions), expected, "a second session with the same seed and actions")


def test_byte_by_byte(subject: Subject) -> None:
    """A session whose bytes arrive one by one is served like any other."""
    probe = subject.connect()
    data = _frames(subject, probe)
    probe.send_each(data[index : index + 1] for index in range(len(data)))
    _read(subject, probe, "sent byte by byte")


def test_coalesced_frames(subject: Subject) -> None:
    """A session whose frames arrive all at once is served like any other."""
    probe = subject.connect()
    probe.send(_frames(subject, probe))
    _read(subject, probe, "sent at once")


def test_split_frames(subject: Subject) -> None:
    """Frames are read that arrive in pieces of seven bytes, which do not end where a frame ends."""
    probe = subject.connect()
    data = _frames(subject, probe)
    probe.send_each(data[index : index + 7] for index in range(0, len(data), 7))
    _read(subject, probe, "split into pieces of seven bytes")


def _breaks_stream(subject: Subject, data: bytes, what: str, *codes: str) -> None:
    """Send bytes during an episode that must end the connection after an error."""
    probe = subject.session()
    probe.reset(seed=SEED)
    probe.send(data)
    probe.expect_error(what, *codes, fault="protocol", reset_needed=None)
    probe.expect_end(what)
    subject.session().reset(seed=SEED)


def _is_malformed(subject: Subject, payload: bytes, what: str) -> None:
    """Send a payload in a whole frame that must be refused without ending the connection."""
    undisturbed(subject, [(frame(subject.encoding, payload), what, "malformed-message", "")])


def test_frame_over_limit(subject: Subject) -> None:
    """A frame that announces more bytes than the reply to make allows is refused before they are sent."""
    limits = subject.session().made.get("limits")
    if limits is None:
        pytest.skip("the server tells no limits")
    length = limits["max_frame"] + 1
    header = b"%d:" % length if subject.is_json else length.to_bytes(4, "big")
    _breaks_stream(subject, header, f"a frame of {length} bytes", "limit-exceeded")


def test_first_frame_over_limit(subject: Subject) -> None:
    """A first frame that announces 99,999,999 bytes is refused before they are sent."""
    if not subject.is_json:
        pytest.skip("an Int32 frame of that length does not open the protocol")
    probe, what = subject.connect(), "a first frame of 99999999 bytes"
    probe.send(b"99999999:")
    probe.expect_error(what, "limit-exceeded", fault="protocol", reset_needed=None)
    probe.expect_end(what)


def test_malformed_header(subject: Subject) -> None:
    """A frame with a malformed header is a protocol error, and ends the connection."""
    headers = [b"x12:", b"12;", b":{},", b"00:,", b"012:", b"9999999999:"] if subject.is_json else [b"\0\0\0\0"]
    for header in headers:
        _breaks_stream(subject, header, f"the header {header!r}")


def test_missing_comma(subject: Subject) -> None:
    """A netstring without its comma is a protocol error, and ends the connection."""
    if not subject.is_json:
        pytest.skip("an Int32 frame has nothing behind its payload")
    _breaks_stream(subject, b'14:{"op":"reset"};', "a netstring that ends with a semicolon")


def test_malformed_payload(subject: Subject) -> None:
    """A payload that is not JSON or MessagePack is refused, and the connection stays open."""
    payloads = (
        [b"{", b"reset", b'{"op":"reset"}}', b'{"op":"reset","options":{"x":NaN}}', b'{"op":"\xff"}']
        if subject.is_json
        else [b"\xc1", b"\x81\xa2op", b"\x81\xa2op\xa5reset\xc0", b"\x82\xa2op\xa5reset\xa7options\x81\xa1x\xd4\1\0"]
    )
    for payload in payloads:
        _is_malformed(subject, payload, f"the payload {payload!r}")


def test_payload_is_not_an_object(subject: Subject) -> None:
    """A payload that is a list, a number or null is refused, and the connection stays open."""
    for payload in [b"[1]", b"7", b"null"] if subject.is_json else [b"\x91\1", b"\7", b"\xc0"]:
        _is_malformed(subject, payload, f"the payload {payload!r}")


def test_deep_nesting(subject: Subject) -> None:
    """Options nested 5,000 deep are refused, and the connection stays open."""
    if subject.is_json:
        payload = b'{"op":"reset","options":' + b'{"x":' * 5000 + b"1" + b"}" * 5000 + b"}"
    else:
        payload = b"\x82\xa2op\xa5reset\xa7options" + b"\x81\xa1x" * 5000 + b"\1"
    _is_malformed(subject, payload, "a message nested 5,000 deep")


def test_too_many_items(subject: Subject) -> None:
    """A message of 600,000 numbers is refused, and the connection stays open."""
    payload = encode(subject.encoding, {"op": "reset", "options": {"x": [0] * 600_000}})
    _is_malformed(subject, payload, "a message of 600,000 numbers")


def test_truncated_frame(subject: Subject) -> None:
    """A client that leaves in the middle of a frame does not disturb other clients."""
    other = subject.session()
    first = other.reset(seed=SEED)[0]
    for cut in (1, 5):
        with subject.session() as probe:
            probe.send(probe.encoded("reset", seed=SEED)[:-cut])
    with subject.connect() as probe:
        probe.send(probe.encoded("make", **subject.fields())[:-3])
    expect_same(other.reset(seed=SEED)[0], first, "a reset beside clients that left in the middle of a frame")
    subject.session()

"""Whether frames are read however they arrive, and what becomes of a stream that is none."""

from __future__ import annotations

from gymtwist.conformance.encoding import encode, framed
from gymtwist.conformance.report import skip
from gymtwist.conformance.server.check import Theme
from gymtwist.conformance.server.connection import Connection
from gymtwist.conformance.server.playing import SEED, expect_same, play, reference, undisturbed
from gymtwist.conformance.server.session import Session
from gymtwist.conformance.server.subject import Subject
from gymtwist.protocol.messages import Closed, Made, ResetDone

framing = Theme("framing")


def _session_bytes(subject: Subject, connection: Connection, steps: int = 3) -> tuple[bytes, list[bytes]]:
    """Encode a make message, and what comes behind it: a reset, some steps, and a close."""
    actions, _ = reference(subject, steps)
    with subject.session() as session:
        dumped = [session.actions.dump(action) for action in actions]
    return connection.encoded("make", **subject.fields()), [
        connection.encoded("reset", seed=SEED),
        *(connection.encoded("step", action=action) for action in dumped),
        connection.encoded("close"),
    ]


def _read(subject: Subject, connection: Connection, what: str, steps: int = 3) -> None:
    """Read the replies to the bytes of a session, which must be those to a session like any other."""
    _, expected = reference(subject, steps)
    session = Session(connection, connection.expect(Made, f"make, {what},"))
    first = session.observation(connection.expect(ResetDone, f"reset, {what},").observation, "reset")
    expect_same(first, expected.first, f"the first observation of a session {what}")
    for step in expected.steps:
        expect_same(session.observed(connection.hear()), step, f"a step of a session {what}")
    connection.expect(Closed, f"close, {what},")


@framing
def whole_frames(subject: Subject) -> None:
    """A session in whole frames, each sent when the reply to the one before has come, is served."""
    actions, expected = reference(subject, 3)
    session = subject.session()
    expect_same(play(session, actions), expected, "a second session with the same seed and actions")


@framing
def byte_by_byte(subject: Subject) -> None:
    """A session whose bytes come one by one is served like any other."""
    connection = subject.connect()
    make, rest = _session_bytes(subject, connection)
    data = make + b"".join(rest)
    connection.send_each(data[index : index + 1] for index in range(len(data)))
    _read(subject, connection, "sent byte by byte")


@framing
def glued(subject: Subject) -> None:
    """A session whose frames, the make message among them, come all at once is served like any other."""
    connection = subject.connect()
    make, rest = _session_bytes(subject, connection)
    connection.send(make + b"".join(rest))
    _read(subject, connection, "sent at once")


@framing
def cut_anywhere(subject: Subject) -> None:
    """Frames that are cut where they should not be, the end of one with the beginning of the next, are read."""
    connection = subject.connect()
    make, rest = _session_bytes(subject, connection)
    data = make + b"".join(rest)
    connection.send_each(data[index : index + 7] for index in range(0, len(data), 7))
    _read(subject, connection, "cut into pieces of seven bytes")


def _refused(subject: Subject, data: bytes, what: str, *codes: str) -> None:
    """Send bytes in an episode that end the stream: an error says so, and the connection is closed."""
    session = subject.session()
    session.reset(seed=SEED)
    connection = session.connection
    connection.send(data)
    connection.expect_error(what, *codes, fault="protocol", reset_needed=None)
    connection.expect_end(what)
    subject.session().reset(seed=SEED)


def _is_no_message(subject: Subject, payload: bytes, what: str) -> None:
    undisturbed(subject, [(framed(subject.protocol, payload), what, "malformed-message", "")])


@framing
def over_the_limit(subject: Subject) -> None:
    """A frame that announces more bytes than the limit in the reply to make is refused before they are sent."""
    limits = subject.session().made.limits
    if limits is None:
        skip("the server tells no limits")
    length = limits.max_frame + 1
    header = b"%d:" % length if subject.is_json else length.to_bytes(4, "big")
    _refused(subject, header, f"a frame of {length} bytes", "limit-exceeded")


@framing
def over_the_limit_at_once(subject: Subject) -> None:
    """A first frame that announces 99,999,999 bytes is refused before they are sent."""
    if not subject.is_json:
        skip("an Int32 frame of that length does not open the protocol")
    connection = subject.connect()
    connection.send(b"99999999:")
    connection.expect_error("a first frame of 99999999 bytes", "limit-exceeded", fault="protocol", reset_needed=None)
    connection.expect_end("a first frame of 99999999 bytes")


@framing
def a_header_that_is_none(subject: Subject) -> None:
    """A frame whose header is wrong is an error of the protocol, and the end of the connection."""
    wrong = [b"x12:", b"12;", b":{},", b"00:,", b"012:", b"9999999999:"] if subject.is_json else [b"\0\0\0\0"]
    for header in wrong:
        _refused(subject, header, f"the header {header!r}")


@framing
def an_end_that_is_none(subject: Subject) -> None:
    """A netstring that does not end with a comma is an error of the protocol, and the end of the connection."""
    if not subject.is_json:
        skip("an Int32 frame has nothing behind its payload")
    _refused(subject, b'14:{"op":"reset"};', "a netstring that ends with a semicolon")


@framing
def a_payload_that_is_none(subject: Subject) -> None:
    """A frame whose payload is no JSON or no MessagePack is refused; the stream is in step, and goes on."""
    wrong = (
        [b"{", b"reset", b'{"op":"reset"}}', b'{"op":"reset","options":{"x":NaN}}', b'{"op":"\xff"}']
        if subject.is_json
        else [b"\xc1", b"\x81\xa2op", b"\x81\xa2op\xa5reset\xc0", b"\x82\xa2op\xa5reset\xa7options\x81\xa1x\xd4\1\0"]
    )
    for payload in wrong:
        _is_no_message(subject, payload, f"the payload {payload!r}")


@framing
def no_object(subject: Subject) -> None:
    """A payload that is a list or a number, not an object, is refused; the stream is in step, and goes on."""
    wrong = [b"[1]", b"7", b"null"] if subject.is_json else [b"\x91\1", b"\7", b"\xc0"]
    for payload in wrong:
        _is_no_message(subject, payload, f"the payload {payload!r}")


@framing
def nested_too_deep(subject: Subject) -> None:
    """Options that are nested 5,000 deep are refused; the stream is in step, and goes on."""
    if subject.is_json:
        payload = b'{"op":"reset","options":' + b'{"x":' * 5000 + b"1" + b"}" * 5000 + b"}"
    else:
        payload = b"\x82\xa2op\xa5reset\xa7options" + b"\x81\xa1x" * 5000 + b"\1"
    _is_no_message(subject, payload, "a message nested 5,000 deep")


@framing
def too_many_parts(subject: Subject) -> None:
    """A message with 600,000 numbers in it is refused; the stream is in step, and goes on."""
    payload = encode(subject.protocol, {"op": "reset", "options": {"x": [0] * 600_000}})
    _is_no_message(subject, payload, "a message with 600,000 numbers")


@framing
def half_a_frame(subject: Subject) -> None:
    """A client that leaves in the middle of a frame disturbs nobody."""
    other = subject.session()
    first = other.reset(seed=SEED)
    for cut in (1, 5):
        with subject.session() as session:
            session.connection.send(session.connection.encoded("reset", seed=SEED)[:-cut])
    with subject.connect() as connection:
        connection.send(connection.encoded("make", **subject.fields())[:-3])
    expect_same(other.reset(seed=SEED), first, "a reset beside clients that left in the middle of a frame")
    subject.session()

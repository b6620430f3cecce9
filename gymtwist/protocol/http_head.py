"""The head of an HTTP request, as far as a server reads it before it knows who answers; and errors without a site."""

from __future__ import annotations

import re
from http import HTTPStatus

import msgspec

from gymtwist.error_texts import bytes_text
from gymtwist.errors import HandshakeError, LimitExceeded

#: The maximum bytes of a request line with its headers.
MAX_HEAD = 16 * 1024
#: The maximum characters of a value that an error repeats.
_MOST_REPEATED = 200
_END_OF_HEAD = b"\r\n\r\n"
_END = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]")


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request is refused: the JSON body of the response.

    Attributes:
        message: What was wrong, what was expected and what to do, for people.
        code: The stable code of the problem, for programs.
        field: The header, parameter or field that was wrong; empty if none was.
        value: The wrong value.
        remedy: What to do.
    """

    message: str
    code: str = ""
    field: str = ""
    value: str = ""
    remedy: str = ""


class Head(msgspec.Struct, frozen=True):
    """The head of a request.

    Attributes:
        method: The method.
        target: The target: usually a path with its query.
        headers: The headers, by their names in lower case; repeated headers are joined by commas.
        size: The size of the head in bytes.
    """

    method: str
    target: str
    headers: dict[str, str]
    size: int

    @property
    def path(self) -> str:
        """The path of the target, without its query."""
        return self.target.partition("?")[0]

    def has_token(self, name: str, token: str) -> bool:
        """Return whether a header that is a list of tokens contains a token, ignoring case."""
        return token in [each.strip().lower() for each in self.headers.get(name, "").split(",")]

    @property
    def asks_for_websocket(self) -> bool:
        """Whether the request asks to upgrade to WebSocket."""
        return self.has_token("upgrade", "websocket") and self.has_token("connection", "upgrade")


def is_http(data: bytes | bytearray) -> bool:
    """Return whether the first byte of a connection begins HTTP: methods are capital letters."""
    return b"A" <= data[:1] <= b"Z"


def read_head(data: bytes | bytearray) -> Head | None:
    """Read the head of a request.

    Args:
        data: All received bytes.

    Returns:
        The head; None while it is incomplete.

    Raises:
        LimitExceeded: The head is too long.
        HandshakeError: The bytes are not the head of a request.
    """
    end = _END.search(data, 0, MAX_HEAD)
    if end is None:
        if len(data) >= MAX_HEAD:
            raise LimitExceeded(f"the head of the HTTP request has more than {MAX_HEAD} bytes; send fewer headers")
        return None
    line, *rest = bytes(data[: end.start()]).split(b"\r\n")
    if end[0] != _END_OF_HEAD or any(b"\n" in each for each in (line, *rest)):
        raise HandshakeError("a line of the HTTP request ends with LF alone; end each with CR LF")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise HandshakeError(f"not the request line of HTTP/1.1: {bytes_text(line[:80])}")
    headers: dict[str, str] = {}
    for number, each in enumerate(rest, 2):
        name, colon, value = each.partition(b":")
        key = name.decode("latin-1").lower()
        if not colon or not key or key != key.strip():
            # Its text may be a token.
            raise HandshakeError(f"line {number} of the request is not a header of HTTP/1.1, NAME: VALUE")
        text = value.strip().decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return Head(found[1].decode(), found[2].decode("latin-1"), headers, end.end())


def shown(value: str) -> str:
    """Shorten a client's value for an error that repeats it."""
    return value if len(value) <= _MOST_REPEATED else value[:_MOST_REPEATED] + "…"


def response(status: int, problem: Problem, headers: dict[str, str] | None = None) -> bytes:
    """Encode the response that ends a connection with a problem."""
    body = msgspec.json.encode(problem)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in {**SECURITY_HEADERS, **(headers or {})}.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


#: The headers of a response that asks for WebSocket.
UPGRADE_HEADERS = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
#: The headers of every response. Scripts, styles and images come only from this server, no page may frame another, and
#: no other site may show an image, such as a session's frame.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

"""Resume tokens: what another process needs to resume the session of an environment."""

from __future__ import annotations

import base64
import binascii
import zlib

import msgspec

from gymtwist.errors import GymtwistError
from gymtwist.protocol import make_messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import INT32_HEADER, ProtocolName

_VERSION = 1
#: The maximum bytes of a token's contents, so that an invalid text does not exhaust memory.
_MOST_BYTES = 256 << 20
_INVALID = "the resume token is invalid: expected the text of env.resume_token"


class ResumeToken(msgspec.Struct, frozen=True, array_like=True, repr_omit_defaults=True):
    """The contents of a token.

    Attributes:
        version: The version of these fields.
        protocol: The framed protocol of the session.
        make: The make request in MessagePack, without the client's token.
        made: The payload of the make reply, which contains the session's secret.
        check_observations: See :func:`gymtwist.client.connect`.
        max_space_bytes: See :func:`gymtwist.client.connect`.
        on_failure: See :func:`gymtwist.client.connect`.
    """

    version: int
    protocol: ProtocolName
    make: bytes
    made: bytes
    check_observations: bool
    max_space_bytes: int
    on_failure: make_messages.OnFailure

    def text(self) -> str:
        """Return the token as text."""
        return base64.urlsafe_b64encode(zlib.compress(msgspec.msgpack.encode(self))).decode()

    def request(self) -> make_messages.Make:
        """Return the make request.

        Raises:
            ValueError: The request is malformed.
        """
        try:
            request = MessageCodec(ProtocolName.INT32).decode_request(self.make)
        except GymtwistError as error:
            raise ValueError(_INVALID) from error
        if not isinstance(request, make_messages.Make):
            raise ValueError(_INVALID)
        return request


def resume_token_of(
    make: make_messages.Make,
    made: bytes,
    protocol: ProtocolName,
    *,
    check_observations: bool,
    max_space_bytes: int,
    on_failure: make_messages.OnFailure,
) -> ResumeToken:
    """Return the token of a session; the arguments are the fields of :class:`ResumeToken`."""
    request = msgspec.structs.replace(make, token=None)
    encoded = b"".join(MessageCodec(ProtocolName.INT32).encode_request(request))[INT32_HEADER:]
    return ResumeToken(_VERSION, protocol, encoded, made, check_observations, max_space_bytes, on_failure)


def parse_resume_token(text: str) -> ResumeToken:
    """Return the contents of a token.

    Raises:
        ValueError: The text is not a token.
    """
    try:
        reader = zlib.decompressobj()
        data = reader.decompress(base64.urlsafe_b64decode(text), _MOST_BYTES)
        token = msgspec.msgpack.decode(data, type=ResumeToken)
    except (ValueError, TypeError, binascii.Error, zlib.error, msgspec.DecodeError) as error:
        raise ValueError(_INVALID) from error
    if token.version != _VERSION:
        raise ValueError(
            f"the resume token has version {token.version}, and this client reads version {_VERSION}: resume with the "
            "gymtwist that made it"
        )
    return token

"""A blocking reference client of the framed and the classic protocol, built on NumPy and msgspec alone.

It is strict about what it receives and lenient about what it sends: a test can send anything, but every reply is
checked against the specification. An invalid reply raises :class:`Violation`.
"""

from gymtwist_conformance.reference_client.byte_stream import PATIENCE, ByteStream, Violation, strict_json
from gymtwist_conformance.reference_client.classic_client import ClassicClient, Refused
from gymtwist_conformance.reference_client.element_codecs import ElementCodec, GraphValue, flatten
from gymtwist_conformance.reference_client.framed_client import Failed, FramedClient, Stepped, decode_arrays
from gymtwist_conformance.reference_client.frames import ENCODINGS, INT32, NETSTRING, encode, frame, message
from gymtwist_conformance.reference_client.shared_region import SharedRegion, SharingClient

__all__ = [
    "ENCODINGS",
    "INT32",
    "NETSTRING",
    "PATIENCE",
    "ByteStream",
    "ClassicClient",
    "ElementCodec",
    "Failed",
    "FramedClient",
    "GraphValue",
    "Refused",
    "SharedRegion",
    "SharingClient",
    "Stepped",
    "Violation",
    "decode_arrays",
    "encode",
    "flatten",
    "frame",
    "message",
    "strict_json",
]

"""Writes the golden vectors: ``python -m tools.vectors [--record HOST:PORT]``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from . import replies, requests, spaces, vector_frames, vector_recordings, websocket_frames
from .notation import Entry, text_of

#: Where the vectors lie.
DIRECTORY = Path(__file__).resolve().parents[2] / "docs" / "reference" / "protocol" / "vectors"
#: What is in each file.
FILES: dict[str, Callable[[], Entry]] = {
    "opening.json": vector_frames.handshake,
    "framing.json": vector_frames.framing,
    "requests.json": requests.requests,
    "replies.json": replies.replies,
    "refused.json": vector_frames.refused,
    "spaces.json": spaces.space_file,
    "values.json": spaces.value_file,
    "websocket.json": websocket_frames.websocket_file,
}


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(prog="python -m tools.vectors", description="Write the golden vectors.")
    parser.add_argument("--record", metavar="HOST:PORT", help="record the two sessions anew, from this server")
    record = parser.parse_args().record
    for name, make in FILES.items():
        (DIRECTORY / name).write_text(text_of(make()))
    if record is not None:
        host, _, port = record.rpartition(":")
        for framing in (requests.NETSTRING, requests.INT32):
            file = vector_recordings.record((host, int(port)), framing)
            (DIRECTORY / vector_recordings.file_name(framing)).write_text(text_of(file))


if __name__ == "__main__":
    main()

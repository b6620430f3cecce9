"""The files of the web page, read once at startup: they are few and small, and nothing else is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gymtwist.web.json_resource import JsonResource

_FILES = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class StaticFile(JsonResource):
    """Answers ``GET`` with a file.

    Args:
        name: The name of the file.
    """

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self._content = (_FILES / name).read_bytes()
        self._type = _TYPES[Path(name).suffix].encode()

    def render_GET(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        request.setHeader(b"Content-Type", self._type)
        request.setHeader(b"Cache-Control", b"no-cache")
        return self._content


def static_files() -> JsonResource:
    """Return the resource whose children are the static files."""
    folder: Any = JsonResource()
    for path in sorted(_FILES.iterdir()):
        if path.suffix in _TYPES:
            folder.putChild(path.name.encode(), StaticFile(path.name))
    found: JsonResource = folder
    return found

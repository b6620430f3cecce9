"""A client of the control socket: HTTP over a UNIX socket."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
from typing import IO, Any

#: Seconds to wait for an answer; most are answered at once.
_TIMEOUT = 30.0
#: The chunk size of a download, in bytes.
_PIECE = 2**20


class Refused(Exception):
    """The server cannot be reached, or refuses the request; the message is the reason."""


class _Connection(http.client.HTTPConnection):
    """A connection to a UNIX socket.

    Args:
        path: The path of the socket.
        timeout: Seconds to wait for the server.
    """

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect; called by the standard library."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def download(path: str, target: str, file: IO[bytes]) -> None:
    """Write the server's answer to a file.

    Args:
        path: The path of the control socket.
        target: The path of the request.
        file: The file.

    Raises:
        Refused: The server cannot be reached or refuses, or the file cannot be written.
    """
    connection = _Connection(path, _TIMEOUT)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        if response.status < 400:
            shutil.copyfileobj(response, file, _PIECE)
            return
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Refused(f"{path}: {_reason(error)}") from error
    finally:
        connection.close()
    raise Refused(_text(answer))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _text(answer: Any) -> str:
    return ": ".join(str(answer[key]) for key in ("message", "value", "remedy") if answer.get(key))


def ask(path: str, method: str, target: str, content: Any = None, timeout: float = _TIMEOUT) -> Any:
    """Send a request, and return the decoded answer.

    Args:
        path: The path of the control socket.
        method: ``GET`` or ``POST``.
        target: The path of the request.
        content: An object to send as JSON; None for an empty body.
        timeout: Seconds to wait for the answer.

    Raises:
        Refused: The server cannot be reached, or refuses.
    """
    connection = _Connection(path, timeout)
    try:
        connection.request(method, target, None if content is None else json.dumps(content))
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Refused(f"no server answers at {path}: {_reason(error)}") from error
    finally:
        connection.close()
    if response.status >= 400:
        raise Refused(_text(answer))
    return answer

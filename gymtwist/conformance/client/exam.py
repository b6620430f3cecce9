"""What is found while one connection of a client is judged: points, each passed until something is wrong with it."""

from __future__ import annotations

from typing import TypeVar

from gymtwist.conformance.report import Outcome, Result, Violation
from gymtwist.protocol.messages import Message, Request

_Request = TypeVar("_Request", bound=Message)


class Exam:
    """The points of one connection.

    Args:
        part: Which part of the scenario it plays.
        protocol: What it speaks.
    """

    def __init__(self, part: str, protocol: str) -> None:
        self.part = part
        self.protocol = protocol
        self._points: dict[str, str] = {}

    def check(self, point: str, condition: object, text: str) -> None:
        """Judge a point; the first thing that is wrong with it is what is told."""
        if not condition and not self._points.get(point):
            self._points[point] = text
        self._points.setdefault(point, "")

    def take(self, point: str, request: Request, kind: type[_Request]) -> _Request:
        """Judge that a request is of a kind.

        Raises:
            Violation: It is not, so the script cannot go on.
        """
        tag = kind.__struct_config__.tag
        right = isinstance(request, kind)
        text = f'the client sent "{request.__struct_config__.tag}"; expected "{tag}"'
        self.check(point, right, text)
        if not isinstance(request, kind):
            raise Violation(text)
        return request

    def results(self) -> list[Result]:
        """Return what was found."""
        return [
            Result(f"{self.part}.{point}", self.protocol, Outcome.FAIL if why else Outcome.PASS, why)
            for point, why in self._points.items()
        ]

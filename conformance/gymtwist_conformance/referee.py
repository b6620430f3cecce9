"""The referee: a server that plays the scenarios, in forms that are hard to parse, and judges its clients."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from gymtwist_conformance.assertions import Assertions, Result
from gymtwist_conformance.fixtures import Answer
from gymtwist_conformance.reference_client import INT32, NETSTRING, ByteStream, Violation
from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.reference_client.frames import decode, find_payload
from gymtwist_conformance.scenarios import Scenario


class Referee:
    """Judges one connection of a client.

    Args:
        stream: The connection. Its patience also limits how long the referee waits.
        scenarios: The scenarios by the id of the environment.
        pause: Seconds between the pieces of a reply.

    Attributes:
        scenario: The scenario that the client plays; None until it is known.
        assertions: The assertions so far.
    """

    def __init__(self, stream: ByteStream, scenarios: Mapping[str, Scenario], pause: float) -> None:
        self._stream, self._scenarios, self._pause = stream, scenarios, pause
        self._encoding = ""
        self.scenario: Scenario | None = None
        self.assertions = Assertions("handshake", "")

    def run(self) -> None:
        """Play until the connection ends."""
        try:
            if self._stream.receive():
                self._play()
        except TimeoutError as error:
            self.assertions.check("patience", False, f"{error} where a request was due")
        except OSError:
            pass  # the client has left; the assertions hold what it did not do

    def _play(self) -> None:
        first = self._stream.peek(20)
        if not (first[:1].isdigit() or first[:1] == b"\0"):
            text = f"the first bytes are {first!r}; expected a netstring or an Int32 frame"
            self.assertions.check("framing", False, text)
            return self._finish(broken=True)
        self._encoding = NETSTRING if first[:1] != b"\0" else INT32
        self.assertions.protocol = self._encoding
        try:
            self._play_script()
        except (EOFError, ConnectionError):  # it may leave with replies unread
            self.assertions.check("end", False, "the client left before the end of the scenario")
        except Violation as violation:
            self.assertions.check("script", False, str(violation))
            error = {"op": "error", "code": "bad-request", "message": str(violation), "fault": "protocol"}
            self._send(Answer([error]))
            self._finish(broken=True)
        else:
            self._finish(broken=False)
        self.assertions.check("messages", True, "")

    def _play_script(self) -> None:
        request = self._next_request()
        make = self.assertions.take("make", request, "make")
        self.assertions.look_at(make)
        known = ", ".join(self._scenarios)
        scenario = self._scenarios.get(make["id"])
        self.assertions.check("make", scenario, f"the client makes {make['id']!r}; expected one of {known}")
        if scenario is None:
            raise Violation(f"unknown environment {make['id']!r}; there are {known}")
        spoken = self._encoding + (", base64" if make.get("values") == "base64" else "")
        self.scenario, self.assertions = scenario, Assertions(scenario.name, spoken)
        script = scenario.script(self.assertions, make, self._encoding)
        self.assertions.look_at(make)
        answer = next(script)
        while True:
            self._send(answer)
            if answer.last:
                return
            request = self._next_request()
            self.assertions.look_at(request)
            answer = script.send(request)

    def _next_request(self) -> dict[str, Any]:
        try:
            while (found := find_payload(self._encoding, self._stream.peek(), 1 << 24)) is None:
                if not self._stream.receive():
                    raise EOFError
            start, stop, end = found
            payload = self._stream.take(end)[start:stop]
            require(payload or self._encoding == NETSTRING, "an empty frame")
            return decode(self._encoding, payload)
        except Violation as violation:
            self.assertions.check("messages", False, str(violation))
            raise

    def _send(self, answer: Answer) -> None:
        pieces = answer.pieces(self._encoding)
        self._stream.send_each(pieces[:-1], self._pause)
        self._stream.send_each(pieces[-1:])

    def _finish(self, *, broken: bool) -> None:
        """Close the connection, and wait until the client does so, too."""
        try:
            self._stream.socket.shutdown(socket.SHUT_WR)
            left = self._stream.read_to_end()
        except TimeoutError as error:
            self.assertions.check("patience", False, f"{error} behind the last reply: it did not close the connection")
            left = self._stream.peek()
        self.assertions.check("end", broken or not left, "the client sent something behind its last request")


def listen(host: str, port: int) -> socket.socket:
    """Listen for clients; port 0 stands for any free port."""
    return socket.create_server((host, port))


def referee_clients(
    listener: socket.socket, scenarios: Mapping[str, Scenario], patience: float, pause: float
) -> Iterator[Result]:
    """Judge connections until each scenario was played once, or until no more clients connect.

    Args:
        listener: Where clients connect.
        scenarios: The scenarios to play, by the id of the environment.
        patience: Seconds to wait for a connection and for every request.
        pause: Seconds between the pieces of a reply.

    Yields:
        The outcomes, one connection after the other.
    """
    seen: set[str] = set()
    listener.settimeout(patience)
    while len(seen) < len(scenarios):
        try:
            connection = listener.accept()[0]
        except TimeoutError:
            break
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with ByteStream(connection, patience) as stream:
            referee = Referee(stream, scenarios, pause)
            referee.run()
        yield from referee.assertions.results()
        if referee.scenario is not None:
            seen.add(referee.scenario.name)
    for each in scenarios.values():
        if each.name not in seen:
            yield Result(each.name, "", "no client has tried this scenario; --scenario selects scenarios")


class Report:
    """Prints results as they arrive, and a summary.

    Args:
        as_json: Whether to print one JSON object at the end instead of lines.
    """

    def __init__(self, as_json: bool = False) -> None:
        self._as_json = as_json
        self._results: list[Result] = []

    def add(self, result: Result) -> None:
        """Add a result, and print it."""
        self._results.append(result)
        if not self._as_json:
            why = f": {' '.join(result.why.split())[:600]}" if result.why else ""
            print(f"{'FAIL' if result.why else 'pass'}  {result.protocol:<17} {result.name}{why}", flush=True)

    def finish(self) -> int:
        """Print the summary; return the exit status."""
        failed = sum(bool(each.why) for each in self._results)
        passed = len(self._results) - failed
        if self._as_json:
            results = [each._asdict() for each in self._results]
            print(json.dumps({"summary": {"passed": passed, "failed": failed}, "results": results}))
        else:
            print(f"{passed} passed, {failed} failed")
        return 1 if failed else 0 if passed else 2

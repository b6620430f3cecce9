"""``/metrics``, for Prometheus. Everything is read on request, without threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from twisted.web.resource import Resource

from gymtwist.protocol.http_head import Problem
from gymtwist.server.server_state import Histogram
from gymtwist.web.json_resource import json_body
from gymtwist.web.server_overview import fork_server_runs, state_of

#: How many steps of each session are timed after a scrape: timing all would slow down every step.
TIMED_STEPS = 100


class ServerCollector(Collector):
    """Reads the state of a server.

    Args:
        factory: What the connections of the server share.
    """

    def __init__(self, factory: Any) -> None:
        self._factory = factory

    def describe(self) -> list[Metric]:
        """Return nothing: otherwise, the registry would read the state to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read everything; called by the registry."""
        yield from self._sessions()
        yield from self._totals()
        yield from self._server()
        for session in self._factory.sessions.values():
            session.status.ask_for_step_times(TIMED_STEPS)

    def _sessions(self) -> Iterator[Metric]:
        factory, state = self._factory, self._factory.state
        running: dict[tuple[str, str], int] = {}
        memory = snapshots = snapshot_memory = 0
        for row, session in zip(state.rows(), factory.sessions.values(), strict=True):
            labels = (state.label(session), row.protocol)
            running[labels] = running.get(labels, 0) + 1
            memory += row.memory
            snapshots += row.snapshots
            snapshot_memory += row.snapshot_memory
        yield _gauges("sessions", "Sessions that run.", ("environment", "protocol"), running)
        yield _counters(
            "sessions_ended", "Sessions that have ended.", ("environment", "protocol", "outcome"), state.ended
        )
        disconnected = len(factory.disconnected)
        yield _gauge("sessions_disconnected", "Sessions that wait for their clients to come back.", disconnected)
        yield _gauge("sessions_limit", "Sessions that may run at once (--max-sessions).", factory.options.max_sessions)
        yield _gauge("worker_memory_bytes", "Memory that the processes of sessions hold.", memory)
        yield _gauge("snapshots", "Snapshots that sessions hold.", snapshots)
        yield _gauge("snapshot_memory_bytes", "Memory of snapshots that no other process shares.", snapshot_memory)

    def _totals(self) -> Iterator[Metric]:
        state = self._factory.state
        totals = state.totals()
        environment = ("environment",)
        yield _counters("steps", "Steps that were taken.", environment, {(k,): n for k, n in totals.steps.items()})
        yield _counters(
            "episodes", "Episodes that have ended.", environment, {(k,): n for k, n in totals.episodes.items()}
        )
        yield _histogram(
            "step_seconds",
            f"Durations of steps in the environment, of up to {TIMED_STEPS} steps of each session after each scrape.",
            totals.step_times,
        )
        yield _histogram(
            "first_observation_seconds",
            "Times from the handshake of a session to its first observation.",
            state.first_observations,
        )
        yield _counter(
            "worker_cpu_seconds", "Processor time that the processes of sessions had.", totals.processor_time
        )
        yield _counters(
            "network_bytes",
            "Bytes exchanged with clients over TCP, as far as their sessions have begun.",
            ("direction",),
            {("sent",): totals.bytes_sent, ("received",): totals.bytes_received},
        )
        yield _counter("worker_crashes", "Processes that have crashed in a session.", state.crashes)
        yield _counter("session_resumptions", "Sessions that another process has resumed.", state.resumptions)
        yield _counter("session_disconnections", "Connections lost by sessions that then waited.", state.disconnections)
        yield _counter("session_reconnections", "Clients that came back to their sessions.", state.reconnections)
        yield _counter("memory_excesses", "Sessions whose processes held more memory than they may.", state.excesses)
        yield _counters(
            "refusals",
            "Clients that were refused, by the code of the error.",
            ("reason",),
            {(k,): n for k, n in state.refusals.items()},
        )

    def _server(self) -> Iterator[Metric]:
        factory = self._factory
        workers = {("idle",): len(factory.pool.ready), ("busy",): len(factory.sessions)}
        yield _gauges("workers", "Processes for sessions.", ("state",), workers)
        rooms = factory.pool.rooms
        if rooms:
            sessions = {(each.name,): each.sessions for each in rooms}
            yield _gauges("node_sessions", "Sessions of each node.", ("node",), sessions)
            room = {(each.name,): each.room for each in rooms}
            yield _gauges("node_sessions_limit", "Sessions that each node has room for.", ("node",), room)
            resources = [((each.name, name), share) for each in rooms for name, share in each.resources.items()]
            labels = ("node", "resource")
            taken = {name: share[0] for name, share in resources}
            yield _gauges("node_resources_taken", "What sessions take of the resources of each node.", labels, taken)
            limits = {name: share[1] for name, share in resources}
            yield _gauges("node_resources_limit", "The resources of each node.", labels, limits)
        wanted = {(name,): amount for name, amount in factory.pool.wanted.items()}
        if rooms or wanted:  # there may be no node yet
            yield _gauges("queue_resources", "The resources that those in the queue wait for.", ("resource",), wanted)
        yield _gauge("queue_length", "Connections that wait for a session.", factory.admission.queued)
        yield _gauge("queue_limit", "Connections that may wait (--queue).", factory.options.queue)
        yield _gauge("connections", "Connections of all kinds.", len(factory.connections))
        yield _gauge("handshakes", "Connections without a session.", len(factory.limit))
        yield _gauge("handshakes_limit", "Connections that may be without one.", factory.limit.total)
        yield _gauge("ready", "1 if new sessions can begin.", state_of(factory) == "ready")
        runs = fork_server_runs(factory)
        if runs is not None:
            yield _gauge("fork_server_up", "1 if the process runs that forks others.", runs)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"gymtwist_{name}", text, float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"gymtwist_{name}", text, float(value))


def _gauges(name: str, text: str, labels: Iterable[str], values: dict[Any, int]) -> Metric:
    family = GaugeMetricFamily(f"gymtwist_{name}", text, labels=tuple(labels))
    for each, value in values.items():
        family.add_metric(each, value)
    return family


def _counters(name: str, text: str, labels: Iterable[str], values: dict[Any, int]) -> Metric:
    family = CounterMetricFamily(f"gymtwist_{name}", text, labels=tuple(labels))
    for each, value in values.items():
        family.add_metric(each, value)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets, count = [], 0
    for bound, number in zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True):
        count += number
        buckets.append((str(bound), float(count)))
    return HistogramMetricFamily(f"gymtwist_{name}", text, buckets=buckets, sum_value=histogram.total)


class Metrics(Resource):
    """Answers with all metrics, for clients that may see all sessions.

    Args:
        factory: What the connections of the server share.
    """

    isLeaf = True

    def __init__(self, factory: Any) -> None:
        super().__init__()
        self._registry = CollectorRegistry()
        self._registry.register(ServerCollector(factory))
        ProcessCollector(registry=self._registry)

    def render_GET(self, request: Any) -> bytes:
        """Answer; called by Twisted."""
        if not request.identity.see_all:
            problem = Problem(
                "the metrics are about the sessions of all identities, and this one sees its own alone",
                code="not-permitted",
                remedy="ask the operator of the server for `see-all`",
            )
            return json_body(request, 403, problem)
        encode, content_type = choose_encoder(request.getHeader("accept") or "")
        request.setHeader(b"Content-Type", content_type.encode())
        encoded: bytes = encode(self._registry)
        return encoded

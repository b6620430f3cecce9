"""The memory of idle sessions, and whether all of them still answer."""

from __future__ import annotations

import collections
import resource
import statistics
import time
from collections.abc import Sequence

from gymtwist_benchmarks.concurrency import add_failures, measure_rush
from gymtwist_benchmarks.markdown_report import Section, say
from gymtwist_benchmarks.process_statistics import family, family_memory, pss
from gymtwist_benchmarks.protocol_clients import LeanClassicClient, random_actions
from gymtwist_benchmarks.server_launcher import Peers, ServerProcess, gymtwist_server

#: Seconds in which everything comes to rest.
_REST, _LONG_REST = 1.0, 2.0
_TARGET = 12.0
#: File descriptors of this process besides its clients' sockets.
_DESCRIPTORS = 100
#: Sessions beyond those that are measured, for `--max-sessions`.
_SPARE = 16
#: The numbers of sessions of gymtwist, and of other servers; in a quick run, too.
_COUNTS, _QUICK_COUNTS = (1, 10, 50, 100, 1000), (1, 10, 100)
_PEER_COUNTS, _QUICK_PEER_COUNTS = (1, 10, 50), (1, 10)


def _connect(port: int, actions: list[int]) -> LeanClassicClient:
    """Connect, and take some steps."""
    # Thousand buffers of the usual size would be too much.
    client = LeanClassicClient(port, "CartPole-v1", buffer_size=4096)
    client.begin()
    client.play(actions)
    return client


def _sessions(count: int) -> str:
    return f"{count} session{'s' if count > 1 else ''}"


def measure_processes(counts: Sequence[int]) -> Section:
    """Measure the memory of idle CartPole sessions, of ascending numbers, and of the processes that serve them."""
    section = Section("Proportional memory (PSS), with 4 more workers kept ready")
    clients: list[LeanClassicClient] = []
    totals = []
    with gymtwist_server("--debuggable") as server:  # its memory is read
        time.sleep(_REST)
        alone = family_memory(server.pid)
        for count in counts:
            while len(clients) < count:
                clients.append(_connect(server.port, random_actions(2, 100)))
            time.sleep(_REST)
            sessions = [pss(server.session_process(client.port)) for client in clients]
            parent, fork_server = pss(server.pid), pss(server.fork_server())
            totals.append(family_memory(server.pid))
            section.samples[_sessions(count)] = {
                "sessions_MB": sessions,
                "parent_MB": parent,
                "fork_server_MB": fork_server,
                "everything_MB": totals[-1],
            }
            median = statistics.median(sessions)
            name = f"{count} idle session{'s' if count > 1 else ''}"
            whose = "its process" if count == 1 else "median of their processes"
            section.add(f"{name}: {whose}", f"{median:.1f} MB", f"under {_TARGET:.0f} MB", median < _TARGET)
            section.add(f"{name}: the parent; the fork server", f"{parent:.1f}; {fork_server:.1f} MB")
        for client in clients:
            client.close()
    section.samples["no session"] = {"everything_MB": alone}
    section.add("everything together, without a session", f"{alone:.0f} MB")
    section.add("everything together grows for each session by", f"{(totals[-1] - alone) / counts[-1]:.1f} MB")
    return section


def _allow_descriptors(clients: int) -> None:
    """Raise this process's limit of file descriptors, if need be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + _DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _step_all(clients: Sequence[LeanClassicClient]) -> tuple[list[float], collections.Counter[str]]:
    """Let every client take a step at once; return the seconds until each reply, and the failures by reason."""
    failures: collections.Counter[str] = collections.Counter()
    waited: list[float] = []
    start = time.perf_counter()
    asked = []
    for client in clients:
        try:
            client.send_step(1)
            asked.append(client)
        except OSError as error:
            failures[str(error)] += 1
    for client in asked:
        try:
            client.receive_step()
            waited.append(time.perf_counter() - start)
        except OSError as error:
            failures[str(error)] += 1
    return waited, failures


def _measure_family(section: Section, name: str, server: ServerProcess, counts: Sequence[int]) -> None:
    """Measure the memory of all processes of a server with ascending numbers of sessions, which then take a step."""
    clients: list[LeanClassicClient] = []
    time.sleep(_LONG_REST)
    alone = family_memory(server.pid)
    section.add_value(f"memory (PSS) of all processes, {name}, no session", alone, "MB")
    for count in counts:
        _allow_descriptors(count)
        while len(clients) < count:
            clients.append(_connect(server.port, [number % 2 for number in range(20)]))
            clients[-1].begin()
        time.sleep(_LONG_REST)
        whole = family_memory(server.pid)
        text, processes = _sessions(count), f"{len(family(server.pid))} processes"
        section.add_value(f"memory (PSS) of all processes, {name}, {text}", whole, "MB", note=processes)
        section.add_value(f"memory (PSS) for each session, {name}, {text}", (whole - alone) / count, "MB")
        waited, failures = _step_all(clients)
        add_failures(section, f"{text} idle, then a step of each: failures, {name}", failures, len(waited))
        last = 1e3 * max(waited, default=0.0)
        section.add_value(f"{text} idle, then a step of each: all, {name}", last, "ms", waited)
        say(f"  {name}: {text}")
    for client in clients:
        client.close()


def measure_families(quick: bool, peers: Peers) -> Section:
    """Measure gymtwist, and other servers of the classic protocol, one after the other."""
    counts, peer_counts = (_QUICK_COUNTS, _QUICK_PEER_COUNTS) if quick else (_COUNTS, _PEER_COUNTS)
    section = Section("Memory of idle sessions, and many at once")
    most = str(counts[-1] + _SPARE)
    with gymtwist_server("--max-sessions", most) as server:
        _measure_family(section, "gymtwist", server, counts)
    with gymtwist_server("--max-sessions", most) as server:
        _allow_descriptors(counts[-1])
        measure_rush(section, "gymtwist", server, counts[-1], 2.0 if quick else 10.0)
    for name, start in peers.items():
        with start() as server:
            _measure_family(section, name, server, peer_counts)
    for name in peers:
        for count in sorted(set(counts) & set(peer_counts)):
            row = "memory (PSS) for each session, {}, " + _sessions(count)
            one, other = section.value(row.format("gymtwist")), section.value(row.format(name))
            if one and other:
                title = f"memory for each session, {name} / gymtwist, {_sessions(count)}"
                section.add_value(title, other / one, "times")
    return section

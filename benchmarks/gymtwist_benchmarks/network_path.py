"""A network path with delay: to a network namespace on this machine.

Packets of either side arrive later by half of the round trip, and one after the other at the rate of the link, if it
has one. The kernel's netem does that where it is built in; elsewhere a process of ours does, between two tunnels.
Either takes root. The TCP at both ends is the kernel's own, with the windows and acknowledgements of a long path.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import select
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

# From <linux/if_tun.h>: packets of IP without a header before them.
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_REQUEST = struct.Struct("16sH22x")
_TUN = "/dev/net/tun"
_PACKET = 65536
#: Addresses reserved for benchmarks (RFC 2544).
_HERE, _THERE = "198.18.77.1", "198.18.77.2"
#: Bytes of the longest packet: as large as those that netem sees, so that the delay counts and not their number.
_LONGEST = 65_000
#: Packets that may be on their way: so many that the delay counts and not this limit.
_QUEUE = 10_000


class Unavailable(Exception):
    """There can be no such path on this machine; the text says why."""


@dataclass(frozen=True)
class NetworkPath:
    """A path with delay."""

    #: The address of this side.
    here: str
    #: Words before a command that run it on the far side.
    words: tuple[str, ...]
    #: What delays the packets.
    how: str


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*words: str) -> None:
    ended = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise Unavailable(f"`{' '.join(words)}` failed: {ended.stderr.strip()}")


@contextlib.contextmanager
def open_network_path(round_trip: float, rate: float = 0.0) -> Iterator[NetworkPath]:
    """Make a path, and remove it again.

    Args:
        round_trip: Seconds of a round trip of few bytes.
        rate: Bits a second in either direction; 0 for as many as this machine can.

    Raises:
        Unavailable: It cannot be made here.
    """
    if os.geteuid():
        raise Unavailable("network namespaces take root")
    for program in ("ip", "tc"):
        if shutil.which(program) is None:
            raise Unavailable(f"there is no program `{program}`: it comes with iproute2")
    name = f"gymtwist{os.getpid()}"
    _ip("netns", "add", name)
    try:
        with contextlib.ExitStack() as stack:
            try:
                how = _by_netem(name, round_trip / 2, rate)
            except Unavailable as error:
                how = stack.enter_context(_by_tunnels(name, round_trip / 2, rate))
                how += f" ({error})" if "netem" not in str(error) else ""
            yield NetworkPath(_HERE, ("ip", "netns", "exec", name), how)
    finally:
        subprocess.run(("ip", "netns", "delete", name), stdin=subprocess.DEVNULL, check=False)


def _names() -> tuple[str, str]:
    """Return unique names of two devices."""
    return f"gth{os.getpid()}", f"gtt{os.getpid()}"


def _configure(namespace: str, here: str, there: str) -> None:
    """Give the devices addresses, and move one into the namespace."""
    _ip("link", "set", there, "netns", namespace)
    _ip("address", "add", _HERE, "peer", _THERE, "dev", here)
    _ip("link", "set", here, "up")
    for words in (
        ("address", "add", _THERE, "peer", _HERE, "dev", there),
        ("link", "set", there, "up"),
        ("link", "set", "lo", "up"),
    ):
        _ip("-n", namespace, *words)


def _by_netem(namespace: str, delay: float, rate: float) -> str:
    """Connect the namespace by a pair of devices, each of which delays what it sends."""
    here, there = _names()
    _ip("link", "add", here, "type", "veth", "peer", "name", there)
    try:
        _configure(namespace, here, there)
        limit = ("limit", str(_QUEUE), *(("rate", f"{rate:.0f}bit") if rate else ()))
        netem = ("root", "netem", "delay", f"{1e6 * delay:.0f}us", *limit)
        _run("tc", "qdisc", "add", "dev", here, *netem)
        _run("ip", "netns", "exec", namespace, "tc", "qdisc", "add", "dev", there, *netem)
    except Unavailable:
        # This deletes the other one, too.
        subprocess.run(("ip", "link", "delete", here), stdin=subprocess.DEVNULL, capture_output=True, check=False)
        raise
    return "netem"


@contextlib.contextmanager
def _by_tunnels(namespace: str, delay: float, rate: float) -> Iterator[str]:
    """Connect the namespace by two tunnels, and carry packets between them."""
    if not os.path.exists(_TUN):
        raise Unavailable(f"the kernel has no netem, and there is no {_TUN}")
    here, there = _names()
    tunnels = [_tunnel(here), _tunnel(there)]
    carrier = 0
    try:
        _configure(namespace, here, there)
        for device, words in ((here, ()), (there, ("-n", namespace))):
            _ip(*words, "link", "set", device, "mtu", str(_LONGEST), "txqueuelen", str(_QUEUE))
        carrier = os.fork()
        if carrier == 0:
            try:
                carry(tunnels[0], tunnels[1], delay, rate)
            finally:
                os._exit(0)
        yield "a process that delays packets" + _hurry(carrier)
    finally:
        if carrier:
            os.kill(carrier, 9)
            os.waitpid(carrier, 0)
        # The devices end with their descriptors.
        for tunnel in tunnels:
            os.close(tunnel)


def _hurry(process: int) -> str:
    """Let a process wake up as soon as a packet is due, like netem; return what to say if that is not permitted.

    A usual process does 50 us later, and after others that are busy.
    """
    try:
        os.sched_setscheduler(process, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO)))
    except PermissionError:
        return " without real-time priority, and so late"
    return ""


def _tunnel(name: str) -> int:
    """Make a tunnel device; return the descriptor of its packets."""
    descriptor = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, _REQUEST.pack(name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(descriptor)
        raise Unavailable(f"the kernel has no netem, and a tunnel cannot be made: {error}") from error
    return descriptor


def carry(one: int, other: int, delay: float, rate: float = 0.0) -> None:
    """Carry packets between two tunnels while the parent process lives.

    Args:
        one: The descriptor of a tunnel.
        other: That of the other.
        delay: Seconds by which each packet arrives later.
        rate: Bits a second in either direction; 0 for no limit.
    """
    parent = os.getppid()
    now = time.perf_counter
    order = 0
    due: list[tuple[float, int, int, bytes]] = []
    to = {one: other, other: one}
    # When the last packet of a tunnel is on the wire whole.
    sent = dict.fromkeys(to, 0.0)
    while os.getppid() == parent:
        left = max(0.0, due[0][0] - now()) if due else 1.0
        for source in select.select((one, other), (), (), left)[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = os.read(source, _PACKET)
                    order += 1
                    sent[source] = max(now(), sent[source]) + (8 * len(packet) / rate if rate else 0.0)
                    heapq.heappush(due, (sent[source] + delay, order, to[source], packet))
        while due and due[0][0] <= now():
            _, _, target, packet = heapq.heappop(due)
            # A network may lose a packet: here, if the device is down already.
            with contextlib.suppress(OSError):
                os.write(target, packet)

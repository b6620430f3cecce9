"""A path through the network that takes time: a network namespace behind a delay.

What is sent by either side arrives later by half of the round trip. The kernel's netem does that where it is built in;
elsewhere a process of ours does, which holds back the packets between two tunnels. Either takes root. The TCP at both
ends is the kernel's own, so that its windows and acknowledgements are what they would be far away.
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
#: Addresses that are kept free for benchmarks (RFC 2544).
_HERE, _THERE = "198.18.77.1", "198.18.77.2"
#: Bytes of the longest packet: large, as those that netem sees, so that the delay counts and not their number.
_LONGEST = 65_000
#: Packets that may be on their way, so that it is the delay that counts and not the room for packets.
_ROOM = 10_000


class NotToBeHad(Exception):
    """There can be no such path here; the text says why."""


@dataclass(frozen=True)
class Path:
    """A path.

    Attributes:
        here: The address of this side.
        words: What is put before a command to run it on the other side.
        how: What holds the packets back.
    """

    here: str
    words: tuple[str, ...]
    how: str


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*words: str) -> None:
    ended = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise NotToBeHad(f"`{' '.join(words)}` failed: {ended.stderr.strip()}")


@contextlib.contextmanager
def far_away(round_trip: float) -> Iterator[Path]:
    """Make a path, and remove it again.

    Args:
        round_trip: Seconds to the other side and back.

    Raises:
        NotToBeHad: It cannot be made here.
    """
    if os.geteuid():
        raise NotToBeHad("network namespaces take root")
    for program in ("ip", "tc"):
        if shutil.which(program) is None:
            raise NotToBeHad(f"there is no program `{program}`: it comes with iproute2")
    name = f"gymtwist{os.getpid()}"
    _ip("netns", "add", name)
    try:
        with contextlib.ExitStack() as stack:
            try:
                how = _by_netem(name, round_trip / 2)
            except NotToBeHad as error:
                how = stack.enter_context(_by_tunnels(name, round_trip / 2))
                how += f" ({error})" if "netem" not in str(error) else ""
            yield Path(_HERE, ("ip", "netns", "exec", name), how)
    finally:
        subprocess.run(("ip", "netns", "delete", name), stdin=subprocess.DEVNULL, check=False)


def _names() -> tuple[str, str]:
    """Name two devices, as no others are named."""
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


def _by_netem(namespace: str, delay: float) -> str:
    """Connect the namespace by a pair of devices, each of which holds back what it sends."""
    here, there = _names()
    _ip("link", "add", here, "type", "veth", "peer", "name", there)
    try:
        _configure(namespace, here, there)
        netem = ("root", "netem", "delay", f"{1e6 * delay:.0f}us", "limit", str(_ROOM))
        _run("tc", "qdisc", "add", "dev", here, *netem)
        _run("ip", "netns", "exec", namespace, "tc", "qdisc", "add", "dev", there, *netem)
    except NotToBeHad:
        # It takes the other one along.
        subprocess.run(("ip", "link", "delete", here), stdin=subprocess.DEVNULL, capture_output=True, check=False)
        raise
    return "netem"


@contextlib.contextmanager
def _by_tunnels(namespace: str, delay: float) -> Iterator[str]:
    """Connect the namespace by two tunnels, and carry packets from one to the other."""
    if not os.path.exists(_TUN):
        raise NotToBeHad(f"neither has the kernel netem, nor is there {_TUN}")
    here, there = _names()
    tunnels = [_tunnel(here), _tunnel(there)]
    carrier = 0
    try:
        _configure(namespace, here, there)
        for device, words in ((here, ()), (there, ("-n", namespace))):
            _ip(*words, "link", "set", device, "mtu", str(_LONGEST), "txqueuelen", str(_ROOM))
        carrier = os.fork()
        if carrier == 0:
            try:
                carry(tunnels[0], tunnels[1], delay)
            finally:
                os._exit(0)
        yield "a process that holds back packets"
    finally:
        if carrier:
            os.kill(carrier, 9)
            os.waitpid(carrier, 0)
        # Without a descriptor there is no device.
        for tunnel in tunnels:
            os.close(tunnel)


def _tunnel(name: str) -> int:
    """Make a device whose packets are read and written by a descriptor."""
    descriptor = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, _REQUEST.pack(name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(descriptor)
        raise NotToBeHad(f"neither has the kernel netem, nor can there be a tunnel: {error}") from error
    return descriptor


def carry(one: int, other: int, delay: float) -> None:
    """Carry packets between two tunnels, each of them so many seconds later, while the parent process lives."""
    parent = os.getppid()
    now = time.perf_counter
    order = 0
    due: list[tuple[float, int, int, bytes]] = []
    to = {one: other, other: one}
    while os.getppid() == parent:
        left = max(0.0, due[0][0] - now()) if due else 1.0
        for source in select.select((one, other), (), (), left)[0]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = os.read(source, _PACKET)
                    order += 1
                    heapq.heappush(due, (now() + delay, order, to[source], packet))
        while due and due[0][0] <= now():
            _, _, target, packet = heapq.heappop(due)
            # A network may lose a packet: here, if the device is not up any more.
            with contextlib.suppress(OSError):
                os.write(target, packet)

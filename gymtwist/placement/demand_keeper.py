"""Adds up what the fronts of a cluster need: Ray keeps one request for room, and each request replaces the one before.

It is an actor of Ray, of which a cluster has one: fronts find it by its name. It outlives each of them, so that the
request of a front that has died does not last.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

#: Its name and its namespace in the cluster.
NAME, NAMESPACE = "demand-keeper", "gymtwist"
#: Seconds between two reports of a front, and seconds without one after which it is gone.
REPORT_INTERVAL, FRONT_TIMEOUT = 5.0, 16.0
#: Seconds between two looks at what has changed.
_INTERVAL = 0.25


class DemandKeeper:
    """Keeps the demand of each front, and asks Ray's autoscaler for room for all of it."""

    def __init__(self) -> None:
        #: By the ids of fronts: when each was heard last, and what it needs.
        self._fronts: dict[str, tuple[float, list[dict[str, Any]]]] = {}
        self._requested: list[dict[str, Any]] | None = None
        self._lock = threading.Lock()
        # After a restart, all fronts must have been heard before the sum means anything.
        has_forgotten = ray.get_runtime_context().was_current_actor_reconstructed
        self._not_before = time.monotonic() + (1.5 * REPORT_INTERVAL if has_forgotten else 0.0)
        self._last = time.monotonic()
        threading.Thread(target=self._run, daemon=True).start()

    def show(self, front: str, bundles: list[dict[str, Any]]) -> None:
        """Note what a front needs.

        Args:
            front: Its id.
            bundles: The resources of a session, the labels of its node, and the count of such sessions.
        """
        with self._lock:
            self._last = time.monotonic()
            self._fronts[front] = self._last, bundles

    def leave(self, front: str) -> None:
        """Forget a front."""
        with self._lock:
            self._fronts.pop(front, None)

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            time.sleep(_INTERVAL)
            try:
                goes_on = self._look()
            except Exception as error:  # the next look asks again
                print(f"the autoscaler was not asked for room: {error}", file=sys.stderr)
        ray.kill(ray.get_runtime_context().current_actor)

    def _look(self) -> bool:
        """Ask for room if the sum has changed; return whether there may be a front."""
        now = time.monotonic()
        with self._lock:
            self._fronts = {name: each for name, each in self._fronts.items() if now - each[0] < FRONT_TIMEOUT}
            wanted = [bundle for _, bundles in self._fronts.values() for bundle in bundles]
            goes_on = bool(self._fronts) or now - self._last < FRONT_TIMEOUT
        if wanted != self._requested and now >= self._not_before:
            request_resources(
                bundles=[each["resources"] for each in wanted for _ in range(each["count"])],
                bundle_label_selectors=[each["labels"] for each in wanted for _ in range(each["count"])],
            )
            self._requested = wanted
        return goes_on

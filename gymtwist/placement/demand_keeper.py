"""Adds up the demand of all fronts of a cluster, since each of Ray's resource requests replaces the previous one.

It is a Ray actor, one per cluster, which fronts find by its name. It outlives the fronts, so that the request of a
front that has died does not last.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

#: The actor's name and namespace in the cluster.
NAME, NAMESPACE = "demand-keeper", "gymtwist"
#: Seconds between reports of a front, and seconds without a report after which the front counts as gone.
REPORT_INTERVAL, FRONT_TIMEOUT = 5.0, 16.0
#: Seconds between checks for changes.
_INTERVAL = 0.25


class DemandKeeper:
    """Keeps the demand of each front, and requests resources for the total from Ray's autoscaler."""

    def __init__(self) -> None:
        #: By front id: when its last report arrived, and its demand.
        self._fronts: dict[str, tuple[float, list[dict[str, Any]]]] = {}
        self._requested: list[dict[str, Any]] | None = None
        self._lock = threading.Lock()
        # After a restart, the total is incomplete until all fronts have reported.
        has_forgotten = ray.get_runtime_context().was_current_actor_reconstructed
        self._not_before = time.monotonic() + (1.5 * REPORT_INTERVAL if has_forgotten else 0.0)
        self._last = time.monotonic()
        threading.Thread(target=self._run, daemon=True).start()

    def show(self, front: str, bundles: list[dict[str, Any]]) -> None:
        """Note the demand of a front.

        Args:
            front: The id of the front.
            bundles: For each kind of session: its resources, the labels of its node, and the number of sessions.
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
            except Exception as error:  # the next check asks again
                print(f"the autoscaler was not asked for room: {error}", file=sys.stderr)
        ray.kill(ray.get_runtime_context().current_actor)

    def _look(self) -> bool:
        """Request resources if the total has changed; return whether there may still be a front."""
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

"""Builds what ``--place`` selects: the pool of workers on other machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from gymtwist.placement.node_resources import Demands
from gymtwist.placement.ray_cluster import RayCluster
from gymtwist.placement.remote_pool import RemotePool, RemoteStarter
from gymtwist.server.server_options import ServerOptions


def place(reactor: Any, options: ServerOptions) -> tuple[RemoteStarter, RemotePool]:
    """Return the starter that connects to the cluster, and the pool of workers on its nodes.

    Args:
        reactor: The reactor.
        options: The options of the server.
    """
    given = msgspec.to_builtins(options)
    # A relay keeps a client off the node, even one on the same machine.
    given["no_shared_memory"] = True
    address = "" if options.place == "ray" else options.place
    runtime_env = json.loads(Path(options.runtime_env).read_bytes()) if options.runtime_env else None
    cluster = RayCluster(reactor, address, given, runtime_env)
    starter = RemoteStarter(reactor, options.worker_settings(), cluster)
    return starter, RemotePool(
        reactor,
        starter,
        options.warm,
        Demands(options),
        spread=options.place_strategy == "spread",
        grows=options.cluster_grows,
        rest_after=options.rest_after if options.cluster_grows else 0.0,
    )

"""Everybody who is compared."""

from __future__ import annotations

from compare import peers_here, peers_network
from compare.contender import Contender

#: In the order in which they take turns.
CONTENDERS: tuple[Contender, ...] = (*peers_here.CONTENDERS, *peers_network.CONTENDERS)

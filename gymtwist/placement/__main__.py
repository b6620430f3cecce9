"""The process of a node's server."""

from twisted.internet import reactor

from gymtwist.placement.node_server import main

main(reactor)

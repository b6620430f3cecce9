"""Sessions on other machines: the front, which clients connect to, places each session on a node of a Ray cluster.

Only :mod:`~gymtwist.placement.ray_driver`, :mod:`~gymtwist.placement.node_agent` and
:mod:`~gymtwist.placement.demand_keeper` import Ray, each in a process of its own.
"""

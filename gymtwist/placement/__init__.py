"""Sessions on other machines: the front, which clients connect to, places each on a node of a Ray cluster.

Only :mod:`~gymtwist.placement.ray_driver` and :mod:`~gymtwist.placement.node_agent` import Ray, each in a process of
its own.
"""

"""Environments: turns registered ids into Gymnasium environments, one or several that step together.

Gym's environments are adapted to Gymnasium's interface. Only workers import this room: environment libraries may be
slow, broken or hostile.
"""

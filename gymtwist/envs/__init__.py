"""Environments: registered ids become Gymnasium environments, one or many that step together.

Gym's environments are adapted to Gymnasium's interface. Only workers import this room: environment libraries may be
slow, broken or hostile.
"""

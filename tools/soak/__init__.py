"""Clients of every kind against one server for hours, and what it costs the server and the others.

``python -m tools.soak run DIRECTORY`` runs and writes what was measured as JSON lines; ``python -m tools.soak report
DIRECTORY`` makes a page of it.
"""

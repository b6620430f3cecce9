"""The golden vectors of the framed protocol: what they hold, and the program that writes them.

``python -m tools.vectors`` writes the files in ``docs/reference/protocol/vectors``, the same bytes every time. With
``--record HOST:PORT`` it records the two sessions among them anew, from a server that runs there.
``docs/reference/protocol/vectors.md`` says what is in the files.
"""

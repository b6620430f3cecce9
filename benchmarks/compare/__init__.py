"""gymtwist beside what one would use instead: the same work by each in turn, on the same machine.

``workloads`` says what is played; ``driving`` plays it, and is what every contender's program in ``contenders`` is made
of. Each contender runs in a virtual environment of its own; its server, if it has one, is in ``servers``.
"""

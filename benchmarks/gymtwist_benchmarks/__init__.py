"""Benchmarks of gymtwist, alone and beside its alternatives.

A contender (:mod:`contenders`) is one way to have environments: in the process itself, or at a server. Its client is
one of ``programs``, its server one of ``servers`` or gymtwist; both run in a virtual environment of its own. The runner
(:mod:`benchmark_runner`) lets contenders take turns at the workloads. ``python benchmarks`` lists the commands.
"""

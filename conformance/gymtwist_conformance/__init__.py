"""Conformance checks and a reference client for the framed protocol, independent of the package that they judge.

``python -m gymtwist_conformance server HOST:PORT`` checks a running server; ``python -m gymtwist_conformance client``
is a server that referees the clients that connect to it. Nothing here imports ``gymtwist``: the bytes are written and
read a second time, so that a mistake of the product is not repeated by its judge.
"""

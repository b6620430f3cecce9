"""Conformance checks and a reference client for the framed protocol, independent of the package under test.

``python -m gymtwist_conformance server HOST:PORT`` checks a running server; ``python -m gymtwist_conformance client``
is a server that checks the clients that connect to it. Nothing here imports ``gymtwist``: bytes are written and
read by separate code, so a bug of the product is not repeated here.
"""

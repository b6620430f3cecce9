"""The conformance suite: it judges servers and clients of the framed protocol, in whatever language they are written.

``python -m gymtwist.conformance server HOST:PORT`` runs named checks against a running server; ``python -m
gymtwist.conformance client`` is a server that plays a script and judges the client that connects to it.
"""

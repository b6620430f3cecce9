"""Runs the server of gym-socket-api: ``gym_socket_api_server.py CHECKOUT PORT``.

Its last commit, 151ca91 of September 2017, unchanged, and as its README starts it (``python . --port PORT``), over the
shim that makes today's Gymnasium look like the ``gym`` that it imports. It sets TCP_NODELAY itself, and listens on
127.0.0.1. There is nothing to configure for speed.

For each connection it starts a fresh interpreter, which runs ``handler.py``, is given the socket, and serves until the
client leaves; the first process only waits for it, in a thread. This program becomes that first process: its pid stays,
and the sessions are its children, one each, whose command line has ``handler.py``.
"""

from __future__ import annotations

import sys

from compare.servers import linking

if __name__ == "__main__":
    linking.become(sys.argv[1], ".", "--port", sys.argv[2])

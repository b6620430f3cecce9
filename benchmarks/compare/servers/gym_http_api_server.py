"""Runs the server of gym-http-api: ``gym_http_api_server.py CHECKOUT PORT``.

Its last commit, 15b68c3 of November 2018, unchanged, and as its README starts it (``python gym_http_server.py``), over
the shim that makes today's Gymnasium look like the ``gym`` that it imports, and with today's Flask, as the release that
it asks for does not run on today's Python.

It is one process, a thread for each connection (Flask's own server), which holds every environment: environments stay
until they are closed, whether or not their client is there. More processes cannot be had, as each would know only its
own environments.
"""

from __future__ import annotations

import sys

from compare.servers import linking

if __name__ == "__main__":
    linking.become(sys.argv[1], "gym_http_server.py", "--port", sys.argv[2])

"""The server process: it accepts and admits connections, hands them to workers and watches the sessions.

It never imports an environment library, and it takes no part in a step.
"""

"""Serves Gymnasium and Gym environments over a socket: `twistd gymsock`, one process per connection."""

__version__ = "0.1.0"

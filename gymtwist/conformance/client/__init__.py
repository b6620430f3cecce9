"""The judge of a client: a server that plays a script, in forms that are hard to read."""

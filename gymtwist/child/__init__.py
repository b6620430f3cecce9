"""What runs in the pool's children, one process for each connection, and the fork server that makes them.

A child is told its job in one AMP command (:mod:`~gymtwist.child.commands`), does it in a plain blocking loop
(:mod:`~gymtwist.child.classic`) and answers with the summary of the session. There is no reactor here.
"""

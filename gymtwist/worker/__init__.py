"""The processes below the server: one worker for each connection, and the fork server that starts them.

A worker receives its job by one AMP command, serves the connection in a blocking loop, and answers with the
reason why the session ended. It runs no reactor.
"""

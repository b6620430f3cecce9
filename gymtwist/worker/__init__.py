"""The processes below the server: one worker for each connection, and the fork server that starts them.

A worker gets its job by one AMP command, serves the connection in a blocking loop, and answers with a summary of the
session. It runs no reactor.
"""

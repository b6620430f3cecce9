"""Loads of other kinds than steps per second: to connect, to idle, to be steady, to be far away.

Each module measures one of them: its ``measure`` returns rows, and as a program it writes them as a table and as JSON.
A server to compare with is given as a command that starts one which speaks the classic protocol.
"""

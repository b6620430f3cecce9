"""Converts bytes to messages and back, without I/O, for servers and clients alike.

The handshake tells the classic and the framed protocol apart. Nothing here imports Twisted or an environment library.
"""

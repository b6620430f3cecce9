"""Tests of gymtwist.recordings without a server."""

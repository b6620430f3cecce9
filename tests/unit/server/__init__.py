"""Tests of gymtwist/server."""

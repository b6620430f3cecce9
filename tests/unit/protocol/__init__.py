"""Tests of gymtwist/protocol."""

"""Tests of gymtwist/conformance."""

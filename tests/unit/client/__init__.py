"""Tests of gymtwist/client."""

"""Tests of gymtwist/web."""

"""Tests of gymtwist/placement."""

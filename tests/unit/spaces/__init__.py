"""Tests of gymtwist/spaces."""

"""Tests of gymtwist/worker."""

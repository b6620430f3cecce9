"""Tests of gymtwist/envs."""

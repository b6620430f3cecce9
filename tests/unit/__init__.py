"""Tests of one room each, without a server process."""

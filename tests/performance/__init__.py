"""Tests of what a step costs, and of the programs that measure it."""

"""Tests of the repository itself: its rooms, pages, golden vectors and packages."""

"""Tests with a real `twistd gymsock`."""

"""Gymnasium's spaces: their descriptions, and their elements in the messages of both protocols."""

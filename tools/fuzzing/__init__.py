"""Feeds mutated openings and frames of every protocol to what reads them."""

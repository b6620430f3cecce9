"""Datasets of recorded episodes: their names, the journals that sessions write, and the process that converts these."""

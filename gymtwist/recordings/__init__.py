"""Datasets of recorded episodes: names, journals that sessions write, and the process that makes datasets of these."""

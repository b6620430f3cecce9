"""The servers that are started for contenders without a server program of their own, and what servers are given."""

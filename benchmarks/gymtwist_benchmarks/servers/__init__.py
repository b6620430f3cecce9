"""The servers of gymtwist's alternatives, and what they need to serve today's Gymnasium."""

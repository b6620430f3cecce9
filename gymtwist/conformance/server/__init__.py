"""The checks of a server: each makes connections of its own, and says what it found there."""

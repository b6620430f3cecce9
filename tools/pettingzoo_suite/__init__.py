"""PettingZoo's own tests, with local and remote environments of it and of libraries like it."""

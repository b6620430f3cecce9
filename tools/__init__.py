"""Programs for those who work on gymtwist; nothing of the server needs them."""

"""What the server says in HTTP: the site, the checks of every request, and JSON errors."""

"""What the server offers over HTTP: the site, the checks of every request, and JSON errors."""

"""Takes the pictures of the web page that the documentation has."""

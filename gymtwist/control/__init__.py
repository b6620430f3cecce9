"""The operator's command, gymsockctl: it asks a server at its control socket."""

"""The operator's command, gymsockctl, which talks to a server over its control socket."""

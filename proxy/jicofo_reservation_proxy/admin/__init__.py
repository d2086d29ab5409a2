"""The interface for operators: the admin listener, and the control socket."""

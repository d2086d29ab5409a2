"""The interface for operators: the control socket in the state directory."""

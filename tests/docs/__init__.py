"""The documentation: true, complete and without dead links."""

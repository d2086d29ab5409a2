"""Small HTTP reservation systems, each with the habits of one kind of public backend."""

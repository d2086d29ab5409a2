"""A backend over HTTP: a reservation system that speaks the API of Jitsi's handbook, or another."""

"""A backend over gRPC: it implements `ReservationService`."""

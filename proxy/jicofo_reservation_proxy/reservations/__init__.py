"""The use cases, and the delivery of deletions. It knows neither HTTP nor gRPC nor SQLite."""

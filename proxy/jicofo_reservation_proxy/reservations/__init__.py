"""The use cases, and the delivery of deletions, without any code for HTTP, gRPC or SQLite."""

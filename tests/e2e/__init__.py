"""End to end: real bytes on real sockets, real gRPC, real TLS."""

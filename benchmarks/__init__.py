"""The benchmark: compare the proxy with a direct gRPC call and with a naive bridge."""

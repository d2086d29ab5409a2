"""The benchmark: what the proxy costs, beside a direct gRPC call and a naive bridge."""

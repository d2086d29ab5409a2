"""Fault tests with real processes: proxies and backends are killed, paused and disconnected."""

"""Fault tests with real processes: proxies and backends are killed, stopped and disconnected."""

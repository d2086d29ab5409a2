"""Faults, against real processes: proxies and backends that are killed, stopped and cut off."""

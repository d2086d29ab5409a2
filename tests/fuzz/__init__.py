"""The fuzzer of the front door: `make fuzz` runs it against a running proxy."""

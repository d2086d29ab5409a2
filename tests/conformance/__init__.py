"""The conformance kit: its parts, and what it finds in backends that break the contract."""

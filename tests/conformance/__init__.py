"""The conformance kit: its parts, and the faults that it finds in broken backends."""

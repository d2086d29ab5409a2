"""The settings: what there is, where values come from, what they must be."""

"""The conferences and aliases that the proxy remembers, also after a restart."""

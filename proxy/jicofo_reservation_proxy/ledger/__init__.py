"""What is remembered of conferences, and kept over a restart."""

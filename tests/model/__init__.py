"""The model of several proxies on one backend, which a search checks exhaustively (README.md)."""

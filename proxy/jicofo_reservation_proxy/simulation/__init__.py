"""Simulated clients: what Jicofo or Prosody sends, and what its users would see.

`meetings` uses `jicofo` or `prosody`; each of these uses `wire` and its module `*_answers`.
docs/clients.md specifies the behaviour. The package shares no code with the proxy's renderers, so
that it finds their mistakes.
"""

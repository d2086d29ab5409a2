"""Simulated clients: send requests as Jicofo or Prosody does, and report the result for its users.

`meetings` uses `jicofo` or `prosody`; each of these uses `wire` and its module `*_answers`.
docs/clients.md specifies the behaviour. The package shares no code with the proxy's renderers, so
that it finds mistakes in the renderers.
"""

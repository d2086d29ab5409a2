"""The real clients, played: what Jicofo or Prosody sends, and what its users would have seen.

meetings → jicofo | prosody → their answers and wire. docs/clients.md is the law for all
of it. Nothing is shared with the code that renders answers: a mistake there must show here.
"""

"""The exit codes of the commands, and the text of the help that explains them."""

OK = 0
USAGE = 2
BAD_SETTINGS = 3
BAD_CREDENTIALS = 4
BAD_STATE = 5
CANNOT_LISTEN = 6
BACKEND_FAILED = 7
REFUSED = 8
NOT_AS_EXPECTED = 9
INTERRUPTED = 130
"""128 + SIGINT, by the custom of shells."""

HELP = f"""\
exit codes:
  {OK}  done; for serve: it was told to stop, and stopped
  1  something unexpected
  {USAGE}  the command line is wrong
  {BAD_SETTINGS}  a setting is wrong
  {BAD_CREDENTIALS}  a certificate, key or token cannot be used, or a backend does not take it
  {BAD_STATE}  the state directory cannot be used
  {CANNOT_LISTEN}  the address to listen on cannot be used, or nobody listens there
  {BACKEND_FAILED}  a backend cannot be reached, is too slow, or is broken
  {REFUSED}  call: the backend was asked, and refused
  {NOT_AS_EXPECTED}  conformance: a case failed; simulate: not all went well for the users
"""

"""The exit codes of the commands, and the help text that explains them."""

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
"""128 + SIGINT, by the convention of shells."""

HELP = f"""\
exit codes:
  {OK}  success; serve: SIGTERM or Ctrl-C stopped the proxy
  1  an unexpected error
  {USAGE}  the command line is wrong
  {BAD_SETTINGS}  a setting is wrong; reload: the proxy keeps its settings
  {BAD_CREDENTIALS}  a certificate, key or token cannot be used, or a backend does not accept it
  {BAD_STATE}  the state directory cannot be used
  {CANNOT_LISTEN}  serve: cannot listen on `listen`; call, simulate: no proxy answers at `listen`
  {BACKEND_FAILED}  a backend is unreachable, too slow or faulty
  {REFUSED}  call: the proxy refused the request, for example because the backend denied the room
  {NOT_AS_EXPECTED}  a case of conformance, a room of simulate, or something in status was wrong
  {INTERRUPTED}  Ctrl-C interrupted the command; conformance, simulate: or SIGTERM
"""

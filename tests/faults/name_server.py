"""A name server: it answers A queries for one name over UDP, on loopback."""

import socketserver
import threading
from collections.abc import Sequence
from typing import Self

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

TTL_SECONDS = 1


class NameServer:
    """A name server for one name; the records can change at any time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.addresses: Sequence[str] = ()
        self._server = socketserver.UDPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def target(self, port: int) -> str:
        """Return the gRPC target of this name at this name server."""
        return f"dns://127.0.0.1:{self._server.server_address[1]}/{self.name}:{port}"

    def _answer(self, query: bytes) -> bytes:
        request = dns.message.from_wire(query)
        response = dns.message.make_response(request)
        response.flags |= dns.flags.AA
        (question,) = request.question
        is_known = question.name.to_text(omit_final_dot=True) == self.name
        if is_known and question.rdtype == dns.rdatatype.A and self.addresses:
            found = dns.rrset.from_text_list(question.name, TTL_SECONDS, "IN", "A", self.addresses)
            response.answer.append(found)
        return response.to_wire()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        answer = self._answer

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                query, connection = self.request
                connection.sendto(answer(query), self.client_address)

        return Handler

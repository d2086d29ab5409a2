"""A bridge as naive.py, but asynchronous: an ASGI application on uvicorn, and grpc.aio behind it.

It handles granted rooms only. It has no log and no ledger. uvicorn uses its faster parser,
httptools, which it takes by itself when it is installed.

Run it as a script. The first argument is the address of the backend. The second argument is the
port, or 0 for a free port; uvicorn logs the port.
"""

import asyncio
import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import grpc.aio
import uvicorn
from google.protobuf.timestamp_pb2 import Timestamp
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2 as pb,
)
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2_grpc as pb_grpc,
)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Bridge:
    """Asks the backend for the room of each request; answers with the conference."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.ReservationServiceStub(channel)

    async def __call__(self, _scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI defines it; each is taken for a POST of a room."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        answer = json.dumps(await self._create(body)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _create(self, body: bytes) -> dict[str, Any]:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        start_time = Timestamp()
        start_time.FromJsonString(form["start_time"])
        question = pb.CreateConferenceRequest(
            request_id=str(uuid.uuid4()),
            room=pb.Room(raw=form["name"], name=form["name"]),
            owner=pb.Owner(raw=form["mail_owner"]),
            start_time=start_time,
        )
        conference = (await self._stub.CreateConference(question, timeout=5)).conference
        return {
            "id": int(conference.id),
            "name": conference.room,
            "mail_owner": conference.owner,
            "start_time": conference.start_time.ToJsonString(),
            "duration": conference.duration.seconds or 10**10,
        }


async def main() -> None:
    """Serve until the process gets SIGTERM."""
    address, port = sys.argv[1], int(sys.argv[2])
    async with grpc.aio.insecure_channel(address) as channel:
        config = uvicorn.Config(Bridge(channel), port=port, lifespan="off", access_log=False)
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())

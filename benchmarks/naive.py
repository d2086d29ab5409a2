"""The naive bridge: about twenty lines of code that the benchmark compares with the proxy.

It uses Flask, `request.form`, `jsonify`, waitress with its defaults, and a blocking call of the
generated stub. The code uses each library as the documentation of that library shows. It is not
slowed down on purpose, and it is not tuned. It handles granted rooms only.

Run it as a script. The first argument is the address of the backend. The second argument is the
port, or 0 for a free port. The first line of the output is the port.
"""

import sys
import uuid

import grpc
import waitress
from flask import Flask, Response, jsonify, request
from google.protobuf.timestamp_pb2 import Timestamp
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2 as pb,
)
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2_grpc as pb_grpc,
)

app = Flask(__name__)
stub = pb_grpc.ReservationServiceStub(grpc.insecure_channel(sys.argv[1]))


@app.post("/conference")
def create() -> Response:
    """Ask the backend for the room; answer with the conference."""
    form = request.form
    start_time = Timestamp()
    start_time.FromJsonString(form["start_time"])
    question = pb.CreateConferenceRequest(
        request_id=str(uuid.uuid4()),
        room=pb.Room(raw=form["name"], name=form["name"]),
        owner=pb.Owner(raw=form["mail_owner"]),
        start_time=start_time,
    )
    conference = stub.CreateConference(question, timeout=5).conference
    return jsonify(
        id=int(conference.id),
        name=conference.room,
        mail_owner=conference.owner,
        start_time=conference.start_time.ToJsonString(),
        duration=conference.duration.seconds or 10**10,
    )


if __name__ == "__main__":
    # The same as waitress.serve(), but with access to the port that waitress chose.
    server = waitress.create_server(app, host="127.0.0.1", port=sys.argv[2])
    print(server.effective_port, flush=True)
    server.run()

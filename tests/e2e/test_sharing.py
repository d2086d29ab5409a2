"""Two proxies on one stub: real sockets, real ledgers, and the real stub."""

from functools import partial
from pathlib import Path

import pytest
from jicofo_reservation_stub import ReservationService, Store

from tests.unit.ledgers import eventually

from .support import JICOFO, PROSODY, Client, backends, running, serving_grpc


@pytest.mark.parametrize("user_agent", [PROSODY, JICOFO])
def test_two_proxies_share_a_room(tmp_path: Path, user_agent: str) -> None:
    """The DELETE of one proxy does not end the meeting of the other one; the last DELETE does."""
    store = Store()
    with serving_grpc(ReservationService(store)) as target:
        default = backends(default=target)
        with (
            running(tmp_path / "one", backends=default) as one,
            running(tmp_path / "other", backends=default) as other,
        ):
            clients = [Client(proxy.port, user_agent) for proxy in (one, other)]
            replies = [client.create() for client in clients]
            assert [reply.status for reply in replies] == [200, 200]
            for client, reply, left in zip(clients, replies, [1, 0], strict=True):
                assert client.delete(reply.json["id"]).status == 200
                eventually(partial(_has_holders, store, left))
    assert len(store) == 0


def _has_holders(store: Store, wanted: int) -> bool:
    """Return whether the conferences have this number of rows."""
    with store._lock:
        return sum(len(rows) for rows in store._holds.values()) == wanted

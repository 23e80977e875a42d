"""Changed requests on real connections, through the real proxy: the origin reads what the client sent, or nothing."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given

from tests.integration.edge import edge_world
from tests.integration.edge.edge_world import Wire
from tests.properties.mutations import cuts, in_pieces, mutated_streams
from tests.security.strict_messages import Message, from_client, is_forwarded
from tests.security.wire_world import bounded, gateway

QUIET_S = 0.05  # without another byte: what was to come has come, or does with the next example


@pytest.fixture(scope="module", params=["asgi", "lane"])
def shared_front(request):
    with gateway(getattr(edge_world, request.param)) as made:
        yield made


@pytest.fixture
def front(shared_front):
    shared_front.clear()
    return shared_front


def say(port: int, pieces: list[bytes], answers: int) -> None:
    """Send the pieces, and wait for as many answers, the end, or silence."""
    wire = Wire(port)
    with contextlib.suppress(OSError):
        for piece in pieces:
            wire.send(piece)
        wire.socket.settimeout(QUIET_S)
        said = b""
        while (not answers or said.count(b"x-request-id: ") < answers) and (data := wire.socket.recv(65536)):
            said += data
    wire.close()


def test_whatever_reaches_an_origin_was_sent_by_a_client_once(front):
    before: list[Message] = []  # what did not arrive; some of a client that was cut off may still be on its way

    @given(data=mutated_streams, cut=cuts)
    @bounded(80)
    def hold(data: bytes, cut: list[float]) -> None:
        requests, _ = from_client(data)
        say(front.port, in_pieces(data, cut), len(requests))
        sent = before + requests
        arrived = list(front.messages)
        del front.origin.messages[: len(arrived)]
        for message in arrived:
            match = next((number for number, one in enumerate(sent) if is_forwarded(message, one)), None)
            assert match is not None, (message, data)
            del sent[match]
        before[:] = [one for one in requests if one in sent]

    hold()

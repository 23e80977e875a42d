"""The frames of a WebSocket, followed through any cuts and held against wsproto."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import CloseReason, FrameProtocol

from gateway.edge import websocket_frames as frames
from gateway.edge.websocket_frames import FrameFollower, close_frame, ping_frame

MASK = b"\x01\x02\x03\x04"


def conversation(sizes: list[int], *, client: bool) -> bytes:
    """What wsproto sends for messages of these sizes, each followed by a ping, and a close at the end."""
    protocol = FrameProtocol(client=client, extensions=[])
    sent = bytearray()
    for size in sizes:
        sent += protocol.send_data(b"x" * size, fin=size % 2 == 0)
        if size % 2:
            sent += protocol.send_data(b"y", fin=True)
        sent += protocol.ping(b"ping")
    return bytes(sent + protocol.close(CloseReason.GOING_AWAY, "bye"))


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in pieces of these sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        pieces.append(data[at : at + sizes[turn % len(sizes)]])
        at += sizes[turn % len(sizes)]
        turn += 1
    return pieces


SIZES = st.lists(st.sampled_from([0, 1, 2, 125, 126, 127, 300, 65_535, 65_536, 70_001]), max_size=6)
CUTS = st.lists(st.integers(1, 5000), min_size=1, max_size=5)


@given(SIZES, CUTS, st.booleans())
def test_whatever_wsproto_sends_passes_unchanged_however_it_is_cut(sizes, cuts, client):
    sent = conversation(sizes, client=client)
    follower = FrameFollower(masked=client)
    passed = b"".join(follower.feed(piece) for piece in cut(sent, cuts))
    assert passed == sent
    assert (follower.closed_with, follower.problem) == (1001, 0)
    assert follower.between_frames


@given(SIZES, CUTS)
def test_what_passes_always_ends_where_it_says_it_does(sizes, cuts):
    sent = conversation(sizes, client=False)
    follower = FrameFollower(masked=False)
    reader = FrameProtocol(client=True, extensions=[])
    passed = b""
    for piece in cut(sent, cuts):
        passed += follower.feed(piece)
        if follower.between_frames:
            reader.receive_bytes(passed)
            received = list(reader.received_frames())
            passed = b""
            assert all(part.frame_finished for part in received)


def test_nothing_is_held_but_headers_and_control_frames():
    follower = FrameFollower(masked=True)
    sent = conversation([1 << 20], client=True)
    held = most = 0
    for piece in cut(sent, [1000]):
        held += len(piece) - len(follower.feed(piece))
        most = max(most, held)
    assert most <= 139
    assert held == 0


@given(CUTS)
def test_the_pong_that_was_awaited_is_taken_out_and_no_other(cuts):
    def pong(payload: bytes) -> bytes:
        return FrameProtocol(client=False, extensions=[]).pong(payload)

    text = FrameProtocol(client=False, extensions=[]).send_data("text")
    follower = FrameFollower(masked=False)
    follower.await_pong(b"ours")
    sent = text + pong(b"theirs") + pong(b"ours") + text + pong(b"ours")
    passed = b"".join(follower.feed(piece) for piece in cut(sent, cuts))
    assert passed == text + pong(b"theirs") + text + pong(b"ours")
    assert follower.ponged


def test_a_muted_side_finishes_its_frame_and_is_followed_to_its_close():
    follower = FrameFollower(masked=False)
    sent = conversation([300], client=False)
    assert follower.feed(sent[:50]) == sent[:50]
    follower.mute()
    assert not follower.between_frames
    assert follower.feed(sent[50:]) == sent[50:304]
    assert follower.between_frames
    assert follower.closed_with == 1001


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x01a", frames.CLOSE_PROTOCOL_ERROR),  # not masked
        (b"\x09\x80" + MASK, frames.CLOSE_PROTOCOL_ERROR),  # a control frame in parts
        (b"\x89\xfe\x00\x80", frames.CLOSE_PROTOCOL_ERROR),  # a control frame of 128 bytes
        (b"\x88\x81" + MASK + b"a", frames.CLOSE_PROTOCOL_ERROR),  # half a close code
        (b"\x82\xff" + b"\xff" * 8 + MASK, frames.CLOSE_PROTOCOL_ERROR),  # a negative length
        (b"\x82\xff" + (101).to_bytes(8, "big") + MASK, frames.CLOSE_TOO_BIG),
        (b"\x02\xe4" + MASK + b"x" * 100 + b"\x80\x81" + MASK + b"x", frames.CLOSE_TOO_BIG),  # in parts
    ],
)
def test_what_breaks_the_rules_has_its_code_and_nothing_of_it_passes(sent, code):
    follower = FrameFollower(masked=True, max_message_bytes=100)
    first = b"\x82\x81" + MASK + b"a"
    passed = b"".join(follower.feed(piece) for piece in cut(first + sent, [3]))
    assert follower.problem == code
    assert passed == first + (sent[:106] if len(sent) > 100 else b"")
    assert follower.feed(b"\x82\x81" + MASK + b"a") == b""


@pytest.mark.parametrize("masked", [False, True])
def test_our_own_frames_are_ones_that_wsproto_reads(masked):
    reader = FrameProtocol(client=not masked, extensions=[])
    mask = MASK if masked else b""
    reader.receive_bytes(ping_frame(b"payload", mask=mask) + close_frame(1012, "service restart", mask=mask))
    ping, close = reader.received_frames()
    assert bytes(ping.payload) == b"payload"
    assert tuple(close.payload) == (1012, "service restart")

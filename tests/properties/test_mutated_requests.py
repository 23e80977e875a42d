"""One message in is one unambiguous message out, or none: for any bytes, cut in any way, by either driver."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.properties.in_memory import InMemory
from tests.properties.mutations import GOOD, cuts, good_streams, in_pieces, mutated_streams
from tests.security.strict_messages import Message, from_client, is_forwarded
from tests.security.wire_world import bounded


@pytest.fixture(scope="module")
def loop():
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def asgi(loop):
    return InMemory("asgi", loop)


@pytest.fixture(scope="module")
def lane(loop):
    return InMemory("lane", loop)


@pytest.fixture(params=["asgi", "lane"])
def driver(request):
    return request.getfixturevalue(request.param)


def assert_nothing_but_what_was_sent(whole: list[Message], sent: list[Message]) -> None:
    """Each request at the origin is one that the client sent, in order, and none of them twice."""
    left = iter(sent)
    for message in whole:
        assert any(is_forwarded(message, one) for one in left), (message, sent)


@given(data=mutated_streams)
@bounded(300)
def test_whatever_reaches_the_origin_is_what_the_client_sent_by_the_letter(driver, data):
    assert_nothing_but_what_was_sent(driver.told(data).whole, from_client(data)[0])


@given(data=mutated_streams, cut=cuts)
@bounded(200)
def test_it_does_not_matter_how_the_network_cuts_what_a_client_sends(driver, data, cut):
    sent, _ = from_client(data)
    in_one, in_many = driver.told(data), driver.told(*in_pieces(data, cut))
    assert_nothing_but_what_was_sent(in_many.whole, sent)
    assert in_many.usual() == in_one.usual()


@given(data=good_streams, cut=cuts)
@bounded(100)
def test_good_requests_are_answered_and_forwarded_however_they_are_cut(driver, data, cut):
    sent, _ = from_client(data)
    outcome = driver.told(*in_pieces(data, cut))
    assert_nothing_but_what_was_sent(outcome.whole, sent)
    last = next((number for number, one in enumerate(sent) if one.is_last), len(sent) - 1)
    assert len(outcome.whole) == last + 1
    assert outcome.closed == sent[last].is_last
    assert {status for status in outcome.statuses if status != 100} == {200}


@given(data=mutated_streams, cut=cuts)
@bounded(300)
def test_both_drivers_say_the_same_and_forward_the_same_bytes(asgi, lane, data, cut):
    pieces = in_pieces(data, cut)
    one, other = asgi.told(*pieces), lane.told(*pieces)
    assert one.usual() == other.usual()


@given(data=st.binary(max_size=200), cut=cuts)
@example(data=GOOD[0] + b"\x16\x03\x01", cut=[])
@bounded(100)
def test_bytes_that_are_no_request_reach_no_origin(driver, data, cut):
    assert_nothing_but_what_was_sent(driver.told(*in_pieces(data, cut)).whole, from_client(data)[0])

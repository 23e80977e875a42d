"""When an answer is compressed, what becomes of its fields, and that the client can always read it."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.edge.compress import Gzip, accepts_gzip, coded

TEXT = (b"content-type", b"text/html; charset=utf-8")


def judged(*fields, status=200, accepted=b"gzip", min_bytes=1000, may_stream=True):
    return coded(status, list(fields), accepted, min_bytes, may_stream=may_stream)


@pytest.mark.parametrize(
    ("field", "accepted"),
    [
        (b"gzip", True),
        (b"GZIP;q=0.5", True),
        (b"br, gzip", True),
        (b"x-gzip", True),
        (b"*", True),
        (b"*;q=0.1", True),
        (b"gzip;q=0", False),
        (b"gzip;q=0.000, *", False),
        (b"gzip; q=0.3, identity; q=0.8", False),
        (b"gzip;q=rubbish", False),
        (b"gzip;q=-1", False),
        (b"gzip;q=nan", False),
        (b"br, deflate", False),
        (b"", False),
    ],
)
def test_the_clients_weights_decide(field, accepted):
    assert accepts_gzip(field) is accepted


def test_a_long_text_is_coded_and_says_so():
    fields, encoder = judged(TEXT, (b"content-length", b"5000"), (b"accept-ranges", b"bytes"))
    assert encoder is not None
    assert fields == [TEXT, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]


def test_a_text_of_unknown_length_is_coded_so_that_every_part_arrives_at_once():
    _, encoder = judged(TEXT)
    reader = zlib.decompressobj(31)
    assert reader.decompress(encoder.feed(b"one")) == b"one"
    assert reader.decompress(encoder.feed(b"two")) == b"two"
    assert reader.decompress(encoder.end()) == b"" and reader.eof


@pytest.mark.parametrize(
    "media_type",
    [b"application/json", b"application/problem+json", b"image/svg+xml", b"TEXT/plain", b"application/javascript"],
)
def test_texts_are_worth_it(media_type):
    assert judged((b"content-type", media_type))[1] is not None


@pytest.mark.parametrize("media_type", [b"text/event-stream", b"image/png", b"application/zip", b"video/mp4", b""])
def test_events_and_what_is_compressed_already_pass_as_they_are(media_type):
    given_fields = [(b"content-type", media_type)]
    assert judged(*given_fields) == (given_fields, None)


@pytest.mark.parametrize(
    "field",
    [
        (b"content-encoding", b"br"),
        (b"cache-control", b"public, no-transform"),
        (b"content-digest", b"sha-256=:x:"),
        (b"content-range", b"bytes 0-1/2"),
        (b"content-length", b"999"),
    ],
)
def test_what_must_stay_as_it_is_does(field):
    assert judged(TEXT, field) == ([TEXT, field], None)


def test_no_transform_counts_in_any_of_several_fields():
    fields = [TEXT, (b"cache-control", b"no-transform"), (b"cache-control", b"public")]
    assert judged(*fields)[1] is None


@pytest.mark.parametrize("status", [204, 206, 304])
def test_parts_and_answers_without_a_body_are_not_coded(status):
    assert judged(TEXT, status=status) == ([TEXT], None)


def test_who_does_not_take_gzip_is_told_that_it_matters():
    assert judged(TEXT, accepted=b"br") == ([TEXT, (b"vary", b"Accept-Encoding")], None)
    assert judged(TEXT, may_stream=False) == ([TEXT, (b"vary", b"Accept-Encoding")], None)


def test_a_strong_validator_becomes_a_weak_one():
    assert (b"etag", b'W/"a"') in judged(TEXT, (b"etag", b'"a"'))[0]
    assert (b"etag", b'W/"a"') in judged(TEXT, (b"etag", b'W/"a"'))[0]


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.binary(max_size=300), max_size=8), st.booleans())
def test_whatever_goes_in_comes_out_again(chunks, flush):
    encoder = Gzip(flush=flush)
    sent = b"".join([encoder.feed(chunk) for chunk in chunks]) + encoder.end()
    assert gzip.decompress(sent) == b"".join(chunks)

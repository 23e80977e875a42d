"""Requests that are good, and what becomes of them when bytes are changed, put in and taken out."""

from __future__ import annotations

from hypothesis import strategies as st

HOST = b"Host: shop.example\r\n"

GOOD = [
    b"GET /orders/1 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /orders?page=2&q=%2F.. HTTP/1.1\r\n" + HOST + b"User-Agent: a b\r\nAccept: */*\r\nX-Empty:\r\n\r\n",
    b"HEAD /orders/1;v=2 HTTP/1.1\r\n" + HOST + b"Connection: keep-alive\r\n\r\n",
    b"DELETE /orders/1 HTTP/1.1\r\n" + HOST + b"Cookie: a=1\r\nCookie: b=2\r\n\r\n",
    b"OPTIONS /orders HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
    b"POST /orders HTTP/1.1\r\n" + HOST + b"Content-Length: 11\r\nContent-Type: text/plain\r\n\r\nhello world",
    b"POST /orders HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    b"PUT /orders/1 HTTP/1.1\r\n"
    + HOST
    + b"transfer-encoding:chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
    b"PATCH /orders/1 HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /orders HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /orders/1 HTTP/1.1\r\n" + HOST + b"Connection: X-Private, close\r\nX-Private: 1\r\nX-Public: 2\r\n\r\n",
    b"GET /orders/1 HTTP/1.0\r\n" + HOST + b"\r\n",
    b"GET /orders/1 HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"GET /orders/1 HTTP/1.1\r\n" + HOST + b"X-Forwarded-For: 10.0.0.1\r\nX_Sentinel_Subject: root\r\n\r\n",
    b"GET /orders/caf%C3%A9 HTTP/1.1\r\nhost: [::1]:8000\r\nx-b:  two  blanks\r\n\r\n",
]

_LINES = [
    *(b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: evil.example\r\n"),
    *(b"Connection: close\r\n", b"Connection: host, content-length\r\n", b"Upgrade: websocket\r\n", b" folded\r\n"),
    *(b"Expect: 100-continue\r\n", b"X-Sentinel-Subject: root\r\n", b"Transfer-Encoding: identity\r\n", b": empty\r\n"),
    *(b"Trailer: host\r\n", b"TE: trailers\r\n", b"Keep-Alive: 5\r\n", b"Transfer_Encoding: chunked\r\n"),
]
_SNIPPETS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"0\r\n\r\n",
        b"5\r\n",
        b"/../",
        b"%2e",
        b"//",
    ),
    *(
        b"#",
        b"?",
        b"\\",
        b"%00",
        b"\xff",
        b"\x7f",
        b"\x1b",
        b" HTTP/1.1",
        b"HTTP/1.0",
        b"http://evil.example",
        b"-",
        b"+",
    ),
    b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n",
]
_BYTES = [bytes([byte]) for byte in b"\r\n\0 \t:;,/%.#?\\0159aAfF\x0b\x7f\x80\xff-+_"]

_WHERE = st.floats(0, 1, exclude_max=True)
_CHANGE = st.one_of(
    st.tuples(st.just("flip"), _WHERE, st.sampled_from(_BYTES)),
    st.tuples(st.just("put"), _WHERE, st.sampled_from(_SNIPPETS)),
    st.tuples(st.just("line"), _WHERE, st.sampled_from(_LINES)),
    st.tuples(st.just("cut"), _WHERE, st.integers(1, 12)),
    st.tuples(st.just("twice"), _WHERE, st.none()),
    st.tuples(st.just("move"), _WHERE, _WHERE),
    st.tuples(st.just("end"), _WHERE, st.none()),
)


def _changed(data: bytes, change: tuple) -> bytes:
    kind, where, what = change
    at = int(where * len(data))
    lines = data.splitlines(keepends=True)
    number = int(where * len(lines))
    if kind == "flip":
        return data[:at] + what + data[at + 1 :]
    if kind == "put":
        return data[:at] + what + data[at:]
    if kind == "cut":
        return data[:at] + data[at + what :]
    if kind == "end":
        return data[:at]
    if kind == "line":
        lines.insert(number, what)
    elif lines and kind == "twice":
        lines.insert(number, lines[number])
    elif lines:
        lines.insert(int(what * len(lines)), lines.pop(number))
    return b"".join(lines)


def _all_changed(data: bytes, changes: list[tuple]) -> bytes:
    for change in changes:
        data = _changed(data, change)
    return data


good_streams = st.lists(st.sampled_from(GOOD), min_size=1, max_size=3).map(b"".join)
mutated_streams = st.builds(_all_changed, good_streams, st.lists(_CHANGE, min_size=1, max_size=4))


def in_pieces(data: bytes, cuts: list[float]) -> list[bytes]:
    """The bytes cut where ``cuts`` say, as shares of the whole."""
    ends = [*sorted({int(cut * len(data)) for cut in cuts} - {0}), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if start < end]


cuts = st.lists(_WHERE, max_size=6)

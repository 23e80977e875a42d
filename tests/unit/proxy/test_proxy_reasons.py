"""Why there is no connection, in words that are safe to show to a client."""

from __future__ import annotations

import errno
import socket

import pytest

from gateway.proxy.dial import reason_of


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.5', 9000)"), "Connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "orders.internal"), "the name does not resolve"),
        (OSError("Multiple exceptions: [Errno 111] ('10.0.0.5', 9000)"), "every address refused"),
        (UnicodeError("label too long: orders.internal"), "the name does not resolve"),
    ],
)
def test_no_address_or_name_of_the_inside_is_told(error, said):
    assert reason_of(error) == f"no connection: {said}"

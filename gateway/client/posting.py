"""One batch to the server over one kept connection, and what its answer means for the batch."""

from __future__ import annotations

import email.utils
import http.client
import json
import ssl
import time
from typing import NamedTuple
from urllib.parse import urlsplit

_MOST_ANSWER_BYTES = 1024 * 1024
_OK, _TOO_LARGE, _UNPROCESSABLE = 200, 413, 422
_LONGEST_WAIT_S = 60.0


class Answer(NamedTuple):
    """What to do with a batch: it is ``done``, or to be sent in ``halves``, or to be tried again later."""

    done: bool
    refused: int = 0
    halves: bool = False
    wait_s: float = 0.0  # the server's own word on when to come again; 0: it said nothing
    why: str = ""  # for people; empty when all is well. Never holds the token.


class Poster:
    """Posts batches. One thread uses it at a time.

    Args:
        url: of the admin plane, such as ``https://sentinel.internal:8001``; a path in it is kept as a prefix.
        token: shown as a bearer token.
        timeout_s: for connecting, and for each step of sending and receiving.

    Raises:
        ValueError: that is no http or https URL.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("the URL of the server must begin with http:// or https:// and name a host")
        self._host, self._port = parts.hostname, parts.port
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = parts.path.rstrip("/") + "/v1/events"
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def post(self, events: list[bytes]) -> Answer:
        """Send a batch. Never raises for what a network or a server can do."""
        body = b"[" + b",".join(events) + b"]"
        reused = self._connection is not None
        try:
            return self._post(body, len(events))
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not reused or isinstance(error, TimeoutError):
                return Answer(done=False, why=f"{self._host} cannot be reached: {type(error).__name__}")
        try:  # a kept connection may have been closed by the server in the meantime: that says nothing about it
            return self._post(body, len(events))
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Answer(done=False, why=f"{self._host} cannot be reached: {type(error).__name__}")

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def forget(self) -> None:
        """Leave the connection to the process it belongs to, after a fork."""
        self._connection = None

    def _post(self, body: bytes, count: int) -> Answer:
        if self._connection is None:
            if self._tls is None:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
            else:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=self._timeout_s, context=self._tls
                )
        self._connection.request("POST", self._path, body, self._headers)
        response = self._connection.getresponse()
        taken = response.read(_MOST_ANSWER_BYTES)
        if not response.isclosed():  # more than any answer of ours: whatever this is, do not read on
            self.close()
        return _meaning(response.status, taken, response.headers.get("Retry-After", ""), count)


def _meaning(status: int, body: bytes, retry_after: str, count: int) -> Answer:
    if status == _OK:
        refused = _refused(body)
        why = f"the server refused {len(refused)} of {count} events; the first: {refused[0]}" if refused else ""
        return Answer(done=True, refused=min(len(refused), count), why=why)
    if status == _TOO_LARGE and count > 1:
        return Answer(done=False, halves=True)
    if status in {_TOO_LARGE, _UNPROCESSABLE}:
        return Answer(done=True, refused=count, why=f"the server refused {count} events: {_detail(body)}")
    return Answer(done=False, wait_s=_seconds(retry_after), why=f"the server answered {status}: {_detail(body)}")


def _refused(body: bytes) -> list[str]:
    try:
        found = json.loads(body)["refused"]
        return [f"{one.get('field', '')}: {one.get('detail', '')}"[:200] for one in found]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # not our server's words, but it said 200


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])[:200]
    except (ValueError, KeyError, TypeError):
        return "it did not say why"


def _seconds(retry_after: str) -> float:
    """Seconds out of a Retry-After field, a number or a date (RFC 9110 §10.2.3); 0 where it makes no sense."""
    try:
        return min(max(0.0, float(retry_after)), _LONGEST_WAIT_S)
    except ValueError:
        pass
    try:
        ahead_s = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0
    return min(max(0.0, ahead_s), _LONGEST_WAIT_S)

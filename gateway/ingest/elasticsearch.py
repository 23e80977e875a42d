"""Reads from Elasticsearch 8 and 9 over its HTTP API: one search at a time, bounded in time, size and pages.

The API is small enough that a client library would only add its own connection pool and retries to ours.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import msgspec

from gateway.errors import OutwardError

if TYPE_CHECKING:
    from gateway.outward import Answer

PAGE = 100
MOST_BYTES = 8 * 1024 * 1024
MOST_PAGES = 20
_KEEP_ALIVE = "1m"
_OK = 200
_MOST_REASON = 200
_WORDS = {
    400: "did not understand the search",
    401: "does not know who asks",
    403: "does not let this user or key read there",
    404: "has no such index",
    429: "has no room for another search",
    502: "is not reached by what stands before it",
    503: "is not available",
    504: "did not answer what stands before it",
}
_REMEDIES = {
    401: "Check the user and password in the address, or the API key.",
    403: "Grant the privileges read and view_index_metadata on the index.",
    404: "Name an index that exists in [sources.elasticsearch], or leave it empty.",
}


class SearchError(OutwardError):
    """Elasticsearch did not answer, or refused. ``retryable`` says whether it may go better later."""


class Exchange(Protocol):
    """Carries one request, bounded in time and size; see :meth:`gateway.outward.Outward.exchange`."""

    async def __call__(
        self, method: str, url: str, *, headers: dict[str, str], most_bytes: int, body: bytes | None = None
    ) -> Answer:
        """The answer, whatever its status. Raises OutwardError."""
        ...


class Elasticsearch:
    """One cluster.

    Args:
        exchange: carries requests; see :class:`gateway.outward.Outward`.
        url: its address; user and password may stand in it, and are never shown.
        api_key: in the encoded form; used in place of user and password.
    """

    def __init__(self, exchange: Exchange, url: str, *, api_key: str = "") -> None:
        parts = urlsplit(url)
        self._exchange = exchange
        host = parts.netloc.rpartition("@")[2]
        self._url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"ApiKey {api_key}"
        elif parts.username is not None:
            proof = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(proof).decode()}"

    async def search(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        """One answer. Raises SearchError."""
        return await self._ask("POST", f"/{_named(index)}/_search?ignore_unavailable=false", body)

    async def documents(self, index: str, body: dict[str, Any], *, most: int) -> list[Any]:
        """Up to so many hits, page by page over one point in time, so that none is missed or met twice.

        Raises:
            SearchError: some page was refused.
        """
        opened = await self._ask("POST", f"/{_named(index)}/_pit?keep_alive={_KEEP_ALIVE}", None)
        pit, after = str(opened.get("id", "")), None
        hits: list[Any] = []
        try:
            for _ in range(MOST_PAGES):
                size = min(PAGE, most - len(hits))
                asked = {**body, "size": size, "pit": {"id": pit, "keep_alive": _KEEP_ALIVE}, "track_total_hits": False}
                if after is not None:
                    asked["search_after"] = after
                answer = await self._ask("POST", "/_search", asked)
                page = _hits(answer)
                pit = str(answer.get("pit_id", pit))  # it may change from page to page
                hits += page
                after = page[-1].get("sort") if page else None
                if len(page) < size or len(hits) >= most or after is None:
                    break
        finally:
            await self._close(pit)
        return hits

    async def _close(self, pit: str) -> None:
        try:
            await self._ask("DELETE", "/_pit", {"id": pit})
        except OutwardError:
            return  # it ends by itself within a minute

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        raw = msgspec.json.encode(body) if body is not None else None
        answer = await self._exchange(method, self._url + path, headers=self._headers, most_bytes=MOST_BYTES, body=raw)
        if answer.status != _OK:
            raise _refused(answer)
        if answer.cut:
            raise SearchError(f"Elasticsearch answered more than {MOST_BYTES} bytes", retryable=False)
        try:
            found = msgspec.json.decode(answer.body)
        except msgspec.MsgspecError as error:
            raise SearchError("what answers there is not Elasticsearch: no JSON", retryable=False) from error
        if not isinstance(found, dict):
            raise SearchError("what answers there is not Elasticsearch: no object", retryable=False)
        if found.get("timed_out") is True or _failed_shards(found):
            raise SearchError("Elasticsearch answered in part only: a shard failed or timed out")
        return found


def _hits(answer: dict[str, Any]) -> list[dict[str, Any]]:
    outer = answer.get("hits")
    inner = outer.get("hits") if isinstance(outer, dict) else None
    return [hit for hit in inner if isinstance(hit, dict)] if isinstance(inner, list) else []


def _named(index: str) -> str:
    return quote(index, safe="*,.-_:")


def _failed_shards(found: dict[str, Any]) -> bool:
    shards = found.get("_shards")
    failed = shards.get("failed", 0) if isinstance(shards, dict) else 0
    return isinstance(failed, int) and failed > 0


def _refused(answer: Answer) -> SearchError:
    said = _WORDS.get(answer.status, f"answered {answer.status}")
    reason = _reason(answer.body)
    return SearchError(
        f"Elasticsearch {said}" + (f": {reason}" if reason else ""),
        retryable=answer.status in {429, 502, 503, 504},
        remedy=_REMEDIES.get(answer.status, ""),
    )


def _reason(body: bytes) -> str:
    """Its own word for what is wrong, cut and in one line."""
    try:
        error = msgspec.json.decode(body)["error"]
        reason = error["reason"] if isinstance(error, dict) else error
    except (msgspec.MsgspecError, KeyError, TypeError):
        return ""
    text = str(reason)
    return "".join(char if char.isprintable() else "·" for char in text)[:_MOST_REASON]

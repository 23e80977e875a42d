"""A server that answers as Elasticsearch 8 does: searches, aggregations, points in time, paging, and its errors.

It really evaluates what it is asked over the documents it holds, so that a wrong query finds nothing here either.
"""

from __future__ import annotations

import base64
import http.server
import json
import threading
import uuid
from contextlib import contextmanager
from datetime import datetime
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

USER, PASSWORD, KEY = "sentinel", "s3cr3t/with:signs", "bXkta2V5OnNlY3JldA=="


class ElasticsearchServer(http.server.ThreadingHTTPServer):
    """Indices are lists of documents. ``failure`` is a status every request gets; the gate holds answers back."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        host = f"127.0.0.1:{self.server_address[1]}"
        self.plain_url = f"http://{host}"
        self.url = f"http://{USER}:{PASSWORD.replace('/', '%2F').replace(':', '%3A')}@{host}"
        self.indices: dict[str, list[dict[str, Any]]] = {}
        self.points: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.failure = 0
        self.gate = threading.Event()
        self.gate.set()

    def matching(self, pattern: str) -> list[tuple[int, dict[str, Any]]] | None:
        """Documents of the indices a pattern names, numbered; None where a plain name names none."""
        found: list[dict[str, Any]] = []
        for part in pattern.split(","):
            names = [name for name in self.indices if fnmatch(name, part)]
            if not names and "*" not in part:
                return None
            found += [document for name in names for document in self.indices[name]]
        return list(enumerate(found))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ElasticsearchServer

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.loads(raw) if raw else None
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path, body))
        self.server.gate.wait(30)
        status, answer = self._refusal() or self._answer(path, body)
        out = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.elasticsearch+json;compatible-with=8")
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    do_DELETE = do_POST  # noqa: N815 - http.server's name

    def log_message(self, *_: object) -> None:
        return

    def _refusal(self) -> tuple[int, Any] | None:
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("authorization") not in {f"Basic {basic}", f"ApiKey {KEY}"}:
            return 401, _error("security_exception", "missing authentication credentials for REST request", 401)
        if self.server.failure:
            kind = {429: "es_rejected_execution_exception", 503: "cluster_block_exception"}
            name = kind.get(self.server.failure, "exception")
            return self.server.failure, _error(name, "rejected execution of a search", self.server.failure)
        return None

    def _answer(self, path: str, body: Any) -> tuple[int, Any]:
        server = self.server
        index, _, verb = path.strip("/").rpartition("/")
        if self.command == "DELETE":
            return 200, {"succeeded": server.points.pop(body["id"], None) is not None, "num_freed": 1}
        if index and (documents := server.matching(index)) is None:
            return 404, _error("index_not_found_exception", f"no such index [{index}]", 404)
        if verb == "_pit":
            point = uuid.uuid4().hex
            server.points[point] = documents
            return 200, {"id": point}
        if not index:
            if body["pit"]["id"] not in server.points:
                return 404, _error("search_context_missing_exception", "No search context found", 404)
            documents = server.points[body["pit"]["id"]]
        found = [(number, one) for number, one in documents if _fits(one["_source"], body["query"])]
        if body.get("size") == 0:
            summed = _aggregated([one["_source"] for _, one in found], body) if "aggs" in body else {}
            return 200, _whole({"hits": []}) | {"aggregations": summed}
        return 200, _whole({"hits": _page(found, body)}) | {"pit_id": body["pit"]["id"]}


def _whole(hits: dict[str, Any]) -> dict[str, Any]:
    return {"took": 3, "timed_out": False, "_shards": {"total": 1, "successful": 1, "failed": 0}, "hits": hits}


def _error(kind: str, reason: str, status: int) -> dict[str, Any]:
    cause = {"type": kind, "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": status}


def _value(source: dict[str, Any], name: str) -> Any:
    if name in source:
        return source[name]
    value: Any = source
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _ms(value: Any) -> int:
    return round(datetime.fromisoformat(value).timestamp() * 1000)


def _fits(source: dict[str, Any], query: dict[str, Any]) -> bool:
    ((kind, asked),) = query.items()
    if kind == "match_all":
        return True
    if kind == "bool":
        either = asked.get("should", [])
        needed = asked.get("minimum_should_match", 0)
        return all(_fits(source, one) for one in asked.get("filter", [])) and (
            sum(_fits(source, one) for one in either) >= needed
        )
    if kind == "exists":
        return _value(source, asked["field"]) is not None
    ((field, wanted),) = asked.items()
    value = _value(source, field)
    if kind == "range":
        assert wanted["format"] == "epoch_millis"
        return value is not None and wanted["gte"] <= _ms(value) < wanted["lt"]
    return value == wanted if kind == "term" else value in wanted


def _page(found: list[tuple[int, dict[str, Any]]], body: dict[str, Any]) -> list[dict[str, Any]]:
    ((field, order),) = body["sort"][0].items()
    sign = -1 if order["order"] == "desc" else 1

    def place(entry: tuple[int, dict[str, Any]]) -> list[int]:
        number, document = entry
        return [sign * (number if field == "_doc" else _ms(_value(document["_source"], field))), number]

    ordered = sorted(found, key=place)
    if after := body.get("search_after"):
        ordered = [entry for entry in ordered if place(entry) > [sign * after[0], after[1]]]
    return [
        {**document, "sort": [sign * place((number, document))[0], number]}
        for number, document in ordered[: body["size"]]
    ]


def _aggregated(sources: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
    asked = body["aggs"]["services"]
    by_minute = asked["aggs"]["minutes"]
    assert by_minute["date_histogram"]["fixed_interval"] == "60s"
    failed, latency = by_minute["aggs"]["failed"]["filter"], by_minute["aggs"]["latency"]["percentiles"]
    services: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for source in sources:
        minute = _ms(_value(source, by_minute["date_histogram"]["field"])) // 60_000 * 60_000
        service = str(_value(source, asked["terms"]["field"]))
        services.setdefault(service, {}).setdefault(minute, []).append(source)
    return {
        "services": {
            "buckets": [
                {
                    "key": service,
                    "doc_count": sum(map(len, minutes.values())),
                    "minutes": {
                        "buckets": [
                            {
                                "key": minute,
                                "doc_count": len(some),
                                "failed": {"doc_count": sum(_fits(one, failed) for one in some)},
                                "latency": {"values": _percentiles(some, latency)},
                            }
                            for minute, some in sorted(minutes.items())
                        ]
                    },
                }
                for service, minutes in services.items()
            ]
        }
    }


def _percentiles(sources: list[dict[str, Any]], asked: dict[str, Any]) -> dict[str, float]:
    values = sorted(_value(source, asked["field"]) for source in sources)
    return {
        f"{percent:.1f}": values[min(len(values) - 1, int(percent / 100 * len(values)))]
        for percent in asked["percents"]
    }


@contextmanager
def elasticsearch() -> Iterator[ElasticsearchServer]:
    """A server in threads of this process."""
    with ElasticsearchServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.gate.set()
            server.shutdown()
            thread.join(5)

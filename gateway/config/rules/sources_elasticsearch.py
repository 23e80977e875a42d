"""Rules for [sources.elasticsearch]: its address, its indices, and spans that fit together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from gateway.config.notation import NotationError, host_name

if TYPE_CHECKING:
    from gateway.config.document_sources import ElasticsearchEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

_SECTION: Path = ("sources", "elasticsearch")
# Names, wildcards and lists as Elasticsearch takes them in a path; no slash, so that the path stays a search.
_INDEX = re.compile(r"[a-z0-9*.][a-z0-9_.*,:-]{0,254}")
_FIELD = re.compile(r"[A-Za-z_@][A-Za-z0-9_.@-]{0,127}")
_SHORTEST_POLL_S = 5.0
_LONGEST_SPAN_S = 6 * 3600.0


def judge(context: Context, entry: ElasticsearchEntry) -> None:
    """Judge the table."""
    _address(context, entry)
    for key in ("log_index", "metrics_index", "runbook_index"):
        value = getattr(entry, key)
        if value and not _INDEX.fullmatch(value):
            context.report.at_value(
                (*_SECTION, key), f"{key} is not the name of an index", 'write such as "app-logs-*"; empty reads none'
            )
    for key, value in msgspec.structs.asdict(entry.fields).items():
        if not _FIELD.fullmatch(value):
            context.report.at_value(
                (*_SECTION, "fields", key), f"fields.{key} is not the name of a field", 'write such as "service.name"'
            )
    _spans(context, entry)
    upstreams = {upstream.name for upstream in context.document.upstreams}
    for service, upstream in entry.services.items():
        if upstream not in upstreams:
            context.report.at_value(
                (*_SECTION, "services", service), f'there is no upstream "{upstream}"', "name one of [[upstreams]]"
            )


def _address(context: Context, entry: ElasticsearchEntry) -> None:
    path: Path = (*_SECTION, "url_env")
    if not context.report.sound(path):
        return
    # Its value is judged, and never shown: a user and password may stand in it.
    url = context.secret(path, entry.url_env, "the address of Elasticsearch")
    if url is not None and not _is_address(url):
        context.report.at_value(
            path, f"{entry.url_env} holds no http or https URL", f"export {entry.url_env}=https://HOST:9200"
        )
    if entry.api_key_env:
        context.secret((*_SECTION, "api_key_env"), entry.api_key_env, "the API key of Elasticsearch")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and host_name(parts.hostname or "") and (parts.port or 1) > 0
    except (ValueError, NotationError):
        return False


def _spans(context: Context, entry: ElasticsearchEntry) -> None:
    report = context.report
    if report.sound((*_SECTION, "poll")) and entry.poll_s < _SHORTEST_POLL_S:
        report.at_value(
            (*_SECTION, "poll"), "poll is under 5s: Elasticsearch refreshes no faster", 'write poll = "30s"'
        )
    if report.sound((*_SECTION, "lookback")) and entry.lookback_s < max(60.0, entry.poll_s):
        report.at_value(
            (*_SECTION, "lookback"),
            "lookback is under a minute or shorter than poll: figures would have holes",
            'write lookback = "5m"',
        )
    for key, value in (("lookback", entry.lookback_s), ("window", entry.window_s)):
        if report.sound((*_SECTION, key)) and value > _LONGEST_SPAN_S:
            report.at_value((*_SECTION, key), f"{key} is over 6 hours", f'write {key} = "10m"')

"""Whether Elasticsearch answers for every index that is to be read, as control would ask it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.checkups.finding import Finding
from gateway.config import compile_sources
from gateway.errors import OutwardError
from gateway.ingest.elasticsearch import Elasticsearch
from gateway.outward import Outward

if TYPE_CHECKING:
    from gateway.config.document import Document
    from gateway.settings import Settings

_NAME = "elasticsearch"
_ANYTHING = {"size": 0, "track_total_hits": False, "query": {"match_all": {}}}


async def elasticsearch(document: Document, settings: Settings) -> list[Finding]:
    """One finding per index; none where nothing is read."""
    wanted = compile_sources.elasticsearch_settings(document)
    url = settings.secret(wanted.url_env) if wanted is not None else None
    if wanted is None or not url:
        return []  # that the variable is not set is the configuration's finding
    key = settings.secret(wanted.api_key_env) or "" if wanted.api_key_env else ""
    findings = []
    async with Outward(lambda _scheme, _address: "") as outward:
        client = Elasticsearch(outward.exchange, url, api_key=key)
        for index in filter(None, (wanted.log_index, wanted.metrics_index, wanted.runbook_index)):
            try:
                await client.search(index, _ANYTHING)
            except OutwardError as error:
                remedy = error.remedy or "incidents are found and explained without it meanwhile"
                findings.append(Finding.bad(_NAME, f"{index}: {error}", remedy))
            else:
                findings.append(Finding.good(_NAME, f"{index} can be searched"))
    return findings

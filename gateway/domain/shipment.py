"""What control carries into the store at once."""

from __future__ import annotations

import msgspec

from gateway.domain.traffic import BucketKey, RequestRecord, SpoolPosition, Tally


class Shipment(msgspec.Struct, frozen=True):
    """The content of one transaction: records, what they add to minute rows, and how far the spool is stored then."""

    node: str  # bucket rows are per node
    records: list[RequestRecord]
    buckets: dict[BucketKey, Tally]
    positions: tuple[SpoolPosition, ...]  # one per stream touched
    before: tuple[SpoolPosition, ...]  # where those streams are believed to stand; none for one never stored
    finished: tuple[str, ...] = ()  # streams that are over and whose files are gone: their positions are forgotten

"""How control asks Elasticsearch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config import compile as compiling
from gateway.config import compile_sources
from gateway.control.second_witness import SecondWitness
from gateway.store.runbooks import Runbooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.admin.exposition import Meters
    from gateway.app.outside import Outside
    from gateway.config.publisher import Publisher
    from gateway.control.directives import Board
    from gateway.detect.held import Held
    from gateway.outward import Outward
    from gateway.settings import Settings
    from gateway.store.engine import Store
    from gateway.store.records import Records


def anybody(_scheme: str, _address: str) -> str:
    """Whom the operator names may be asked, wherever it stands."""
    return ""


def second_witness(
    outward: Outward,
    store: Store,
    records: Records,
    told: Outside,
    publisher: Publisher,
    board: Board,
    *,
    settings: Settings,
    held: Callable[[], Held],
    meters: Meters,
    clock: Callable[[], float],
) -> SecondWitness:
    """The second witness; it asks only where [sources.elasticsearch] stands in the configuration in force."""
    return SecondWitness(
        outward.exchange,
        settings=lambda: compile_sources.elasticsearch_settings(publisher.configuration.document),
        secret=settings.secret,
        alerts=told.alerts,
        runbooks=Runbooks(store),
        samples=records,
        snapshot=lambda: publisher.snapshot,
        detect=lambda: compiling.detect_settings(publisher.configuration.document),
        held=held,
        leading=lambda: board.leading,
        count=lambda outcome: meters.count("sentinel_elasticsearch_rounds_total", outcome),
        clock=clock,
    )

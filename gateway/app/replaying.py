"""Wiring of replays: what they read, and the configuration they begin from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.config import checking, overrides, schema
from gateway.config import compile as compiling
from gateway.config.document import Document
from gateway.config.notation import did_you_mean
from gateway.control.replays import Replays
from gateway.errors import InvalidInputError
from gateway.store.buckets import Buckets
from gateway.store.passed_requests import PassedRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config.publisher import Publisher
    from gateway.control.detector_replay import OpenedIncidents
    from gateway.domain.policy import DetectSettings
    from gateway.settings import Settings
    from gateway.store.engine import Store

_TABLE = "detect."


def replaying(
    store: Store, incidents: OpenedIncidents, publisher: Publisher, settings: Settings, clock: Callable[[], float]
) -> Replays:
    """Replays over this store, from the configuration in force."""

    def in_force() -> DetectSettings:
        return compiling.detect_settings(publisher.configuration.document)

    return Replays(
        PassedRequests(store),
        Buckets(store),
        incidents,
        snapshot=lambda: publisher.snapshot,
        retention_s=lambda: publisher.configuration.document.store.retention.requests_s,
        detect_in_force=in_force,
        detect_with=lambda changed: changed_settings(publisher.configuration.text, settings, changed),
        clock=clock,
    )


def changed_settings(text: str, settings: Settings, changed: Mapping[str, str]) -> DetectSettings:
    """The ``[detect]`` of a configuration with some keys changed, judged as ``sentinel check`` judges it.

    Raises:
        InvalidInputError: there is no such key, or the value is not one of it.
    """
    known = [path.removeprefix(_TABLE) for path, _ in schema.leaves(schema.table(Document)) if path.startswith(_TABLE)]
    for name in changed:
        if name not in known:
            remedy = did_you_mean(name, known, otherwise=f"one of {', '.join(known)}")
            raise InvalidInputError(f"[detect] has no key {name!r}", field="settings", remedy=remedy)
    proposed = {overrides.variable_of(_TABLE + name): value for name, value in changed.items()}
    names = {overrides.variable_of(_TABLE + name): name for name in changed}
    result = checking.check_text(text, "sentinel.toml", replace(settings, overrides={**settings.overrides, **proposed}))
    for error in result.errors:
        if error.source in names:
            raise InvalidInputError(f"{names[error.source]}: {error.message}", field="settings", remedy=error.remedy)
    if result.configuration is None:
        raise InvalidInputError(result.errors[0].message, field="settings", remedy=result.errors[0].remedy)
    return compiling.detect_settings(result.configuration.document)

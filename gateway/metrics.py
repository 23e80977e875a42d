"""Every Prometheus name and label stands here; docs/reference/metrics.md is checked against this table.

Traffic metrics are raised in control from the records it reads; a worker's own counters ride in its spool batches
(docs/adr/0003). Labels are names from the configuration, never raw paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Metric(NamedTuple):
    """One exposed family."""

    name: str
    kind: str  # counter, gauge, histogram
    labels: tuple[str, ...]
    help: str


METRICS: tuple[Metric, ...] = (
    Metric("sentinel_requests_total", "counter", ("route", "method", "status_class", "tenant"), "Requests finished."),
    Metric("sentinel_request_duration_seconds", "histogram", ("route",), "Time from first byte in to last byte out."),
    Metric("sentinel_upstream_duration_seconds", "histogram", ("upstream", "target"), "Time of requests by target."),
    Metric(
        "sentinel_request_phase_seconds",
        "histogram",
        ("phase",),
        "Where requests spend their time: wait, auth, limit, and with an upstream connect, upstream, stream.",
    ),
    Metric("sentinel_errors_total", "counter", ("route", "kind"), "Requests the gateway answered or cut short itself."),
    Metric("sentinel_rate_limited_total", "counter", ("route", "scope"), "Requests refused by a limit."),
    Metric(
        "sentinel_rate_limit_shadowed_total",
        "counter",
        ("route", "scope"),
        "Requests a limit in shadow mode would have refused.",
    ),
    Metric("sentinel_quotas_forgotten_total", "counter", (), "Callers whose used quota had no more room."),
    Metric(
        "sentinel_buckets_forgotten_total", "counter", (), "Used buckets in a worker that had no more room: full anew."
    ),
    Metric(
        "sentinel_limiter_local_total",
        "counter",
        ("outcome",),
        "Verdicts without a call, by what Redis said before: leased, exhausted.",
    ),
    Metric("sentinel_limiter_fallback_total", "counter", (), "Limit checks decided without Redis."),
    Metric(
        "sentinel_limiter_calls_total",
        "counter",
        ("outcome",),
        "Script calls to Redis: ok, noscript, moved, failed, slow.",
    ),
    Metric(
        "sentinel_upstream_connections_total",
        "counter",
        ("upstream", "outcome"),
        "Connections: opened, reused, failed, stale, turned_away.",
    ),
    Metric("sentinel_name_lookups_total", "counter", ("outcome",), "Names of targets: resolved, failed."),
    Metric(
        "sentinel_upstream_panic_total", "counter", ("upstream",), "Requests sent to an ejected target: all were out."
    ),
    Metric(
        "sentinel_circuit_state", "gauge", ("upstream",), "Workers whose circuit is open or half open; 0: all closed."
    ),
    Metric("sentinel_circuit_opened_total", "counter", ("upstream",), "Circuits opened, each worker's counted."),
    Metric(
        "sentinel_outlier_ejections_total",
        "counter",
        ("upstream", "target"),
        "Targets a worker took out by what their answers showed.",
    ),
    Metric(
        "sentinel_upstream_retries_total",
        "counter",
        ("upstream", "outcome"),
        "Attempts after the first: succeeded, failed, abandoned, over_budget (not made).",
    ),
    Metric(
        "sentinel_mirrored_total",
        "counter",
        ("upstream", "outcome"),
        "Copies of requests: answered, failed, abandoned, too_large, skipped.",
    ),
    Metric("sentinel_unknown_keys_total", "counter", ("url",), "Tokens whose key the fetched key set does not hold."),
    Metric(
        "sentinel_tls_handshakes_total",
        "counter",
        ("outcome",),
        "TLS handshakes of clients: ok, failed, timeout, crowded_out, stopped.",
    ),
    Metric("sentinel_websockets_open", "gauge", ("route",), "WebSockets that are open."),
    Metric("sentinel_key_set_fetches_total", "counter", ("outcome",), "Key sets: fetched, failed."),
    Metric(
        "sentinel_directed_total",
        "counter",
        ("route", "outcome"),
        "Requests an action concerned: blocked, limited, shed, circuit, shifted.",
    ),
    Metric("sentinel_directives_refused_total", "counter", (), "Directives of a leader that had been replaced."),
    Metric("sentinel_records_total", "counter", ("outcome",), "Request records: stored, dropped, poisoned."),
    Metric("sentinel_spool_bytes", "gauge", (), "Bytes waiting in the spool."),
    Metric("sentinel_ship_seconds", "histogram", (), "Time of one shipping transaction."),
    Metric("sentinel_store_up", "gauge", (), "1 while the last shipping transaction succeeded."),
    Metric("sentinel_own_trouble", "gauge", ("part",), "Troubles of the gateway's own parts on this node, by part."),
    Metric("sentinel_snapshot_revision", "gauge", (), "Revision of the snapshot in force."),
    Metric("sentinel_workers", "gauge", (), "Live workers on this node."),
    Metric("sentinel_target_healthy", "gauge", ("upstream", "target"), "1 when the target takes its full share."),
    Metric("sentinel_incidents_open", "gauge", ("severity",), "Open incidents."),
    Metric("sentinel_incidents_total", "counter", ("severity",), "Incidents opened."),
    Metric(
        "sentinel_alerts_received_total",
        "counter",
        ("source", "outcome"),
        "Alerts of other monitoring: firing, repeated, resolved, unknown, stale, dropped.",
    ),
    Metric("sentinel_alerts_firing", "gauge", ("source",), "Alerts of other monitoring that fire."),
    Metric("sentinel_dead_letters_total", "counter", ("source",), "Bodies from outside that could not be read."),
    Metric(
        "sentinel_slo_error_budget_remaining", "gauge", ("slo",), "Share of the error budget left; below 0: overspent."
    ),
    Metric(
        "sentinel_slo_burn_rate", "gauge", ("slo", "window"), "Error budget burned, 1 being exactly the whole of it."
    ),
    Metric("sentinel_actions_total", "counter", ("kind", "outcome"), "Actions by what became of them."),
    Metric("sentinel_detection_seconds", "histogram", (), "Time of one detection pass."),
    Metric("sentinel_model_tokens_total", "counter", ("provider", "direction"), "Tokens spent on reports."),
    Metric(
        "sentinel_notifications_total",
        "counter",
        ("kind", "outcome"),
        "Notifications: delivered, retried, given_up, held_back.",
    ),
    Metric(
        "sentinel_events_total",
        "counter",
        ("outcome",),
        "Reported events: stored, duplicate, refused; and whole batches turned_away.",
    ),
    Metric("sentinel_elasticsearch_rounds_total", "counter", ("outcome",), "Rounds of questions: ok, failed."),
    Metric(
        "sentinel_metrics_ignored_total",
        "counter",
        (),
        "Amounts without a series of their own: an unknown name from a worker, or label sets beyond the bound.",
    ),
    Metric("sentinel_build_info", "gauge", ("version",), "Always 1."),
)


class WorkerCounters:
    """A worker's own counters between two spool batches, and its gauges. Not thread-safe: one event loop owns it."""

    def __init__(self) -> None:
        self._amounts: dict[str, float] = {}
        self._levels: dict[str, dict[str, float]] = {}  # gauge → key → level, those at 0 left out

    def count(self, name: str, *labels: str, amount: float = 1) -> None:
        """Raise counter ``name`` with label values in the order METRICS gives them."""
        key = "|".join((name, *labels))
        self._amounts[key] = self._amounts.get(key, 0) + amount

    def take(self) -> dict[str, float]:
        """What has been counted since the last call, keyed ``name|label value|…``."""
        taken, self._amounts = self._amounts, {}
        return taken

    def hold(self, name: str, levels: Mapping[tuple[str, ...], float]) -> None:
        """Gauge ``name`` stands at exactly these levels from now on; label sets that are left out stand at 0."""
        self._levels[name] = {"|".join((name, *labels)): level for labels, level in levels.items() if level}

    def levels(self) -> dict[str, float]:
        """Where the gauges stand, keyed as in :meth:`take`; those at 0 are left out."""
        return {key: level for levels in self._levels.values() for key, level in levels.items()}

"""What /metrics shows: the families of :data:`gateway.metrics.METRICS`, raised from what control reads.

Traffic families are raised from the same sums that detection reads, once per spool batch; a worker's own counters ride
in the batch header. Latency arrives in logarithmic bins of 1 % and is sorted into fixed Prometheus buckets by each
bin's middle, so a bucket is exact but for durations within 1 % of its bound.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from operator import attrgetter
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from gateway import __version__
from gateway.domain.histogram import value_of
from gateway.domain.traffic import METHODS, OTHER
from gateway.metrics import METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric as Family

    from gateway.domain.traffic import BatchHeader, RequestRecord, SeriesKey, Tally
    from gateway.domain.window import Cell

Labels = tuple[str, ...]

MOST_SERIES = 2000  # label sets per family; what comes later is added to one set of "other"
# Seconds: a millisecond of a local service up to the default timeouts of callers.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Of the parts of a request: the gateway's own take microseconds, upstreams' as long as the whole.
PHASE_BOUNDS_S = (0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0)
_PHASES = "sentinel_request_phase_seconds"
_BOUNDS_S = {_PHASES: PHASE_BOUNDS_S}  # the others: BOUNDS_S
# What every request passes, and what only those have that an upstream was asked for.
_ALWAYS = tuple((name, attrgetter(f"{name}_us")) for name in ("wait", "auth", "limit"))
_UPSTREAM = tuple((name, attrgetter(f"{name}_us")) for name in ("connect", "upstream", "stream"))
_MICROSECONDS = 1_000_000
_SWITCHED = 101
_NO_ROUTE = "none"
# What a worker may count itself; everything else about requests is raised here, once, from its records.
_FROM_WORKERS = frozenset(
    {
        "sentinel_rate_limited_total",
        "sentinel_rate_limit_shadowed_total",
        "sentinel_quotas_forgotten_total",
        "sentinel_buckets_forgotten_total",
        "sentinel_limiter_local_total",
        "sentinel_limiter_fallback_total",
        "sentinel_limiter_calls_total",
        "sentinel_upstream_connections_total",
        "sentinel_name_lookups_total",
        "sentinel_upstream_panic_total",
        "sentinel_circuit_state",
        "sentinel_circuit_opened_total",
        "sentinel_outlier_ejections_total",
        "sentinel_upstream_retries_total",
        "sentinel_mirrored_total",
        "sentinel_directed_total",
        "sentinel_directives_refused_total",
        "sentinel_unknown_keys_total",
        "sentinel_tls_handshakes_total",
        "sentinel_websockets_open",
    }
)


class _Buckets:
    """One histogram: counts per bound, not cumulative, and the sum of seconds."""

    __slots__ = ("bounds_s", "counts", "total_s")

    def __init__(self, name: str) -> None:
        self.bounds_s = _BOUNDS_S.get(name, BOUNDS_S)
        self.counts = [0] * (len(self.bounds_s) + 1)  # the last is +Inf
        self.total_s = 0.0


class Meters(Collector):
    """Every metric of this control. Not thread-safe: one event loop owns it.

    Args:
        tenants: label requests with their tenant; off, the label is empty (a metric per customer is a choice).
        most_series: label sets kept per family.
    """

    def __init__(self, *, tenants: bool = False, most_series: int = MOST_SERIES) -> None:
        self._tenants = tenants
        self._most_series = most_series
        self._metrics: dict[str, Metric] = {metric.name: metric for metric in METRICS}
        self._values: dict[str, dict[Labels, float]] = {
            metric.name: {} if metric.labels else {(): 0.0} for metric in METRICS if metric.kind != "histogram"
        }
        self._histograms: dict[str, dict[Labels, _Buckets]] = {
            metric.name: {} if metric.labels else {(): _Buckets(metric.name)}
            for metric in METRICS
            if metric.kind == "histogram"
        }
        self._bucket_of: dict[int, int] = {}
        self._gauges = frozenset(metric.name for metric in METRICS if metric.kind == "gauge")
        self._levels: dict[str, dict[str, float]] = {}  # worker life → its gauges
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self.set("sentinel_build_info", 1, __version__)

    def on_batch(self, header: BatchHeader, records: Sequence[RequestRecord], cells: Mapping[int, Cell]) -> None:
        """Raise the traffic families from one spool batch; ``records`` are those the cells were summed from."""
        self._on_ledger(_ALWAYS, records)
        # A WebSocket's life, whose status is 101, is no stream that somebody waited for.
        waited = [record for record in records if record.attempts and record.status != _SWITCHED]
        self._on_ledger(_UPSTREAM, waited)
        for cell in cells.values():
            for key, tally in cell.items():
                self._on_series(key, tally)
        levels: dict[str, float] = {}
        for name, amount in header.counters.items():
            self._on_worker_counter(name, amount, levels)
        if levels or self._levels:
            self._on_levels(header.worker, levels)

    def on_lost(self, records: int) -> None:
        """Records that were dropped or went with a killed worker."""
        self.count("sentinel_records_total", "dropped", amount=records)

    def on_stored(self, records: int, poisoned: int, seconds: float) -> None:
        """A shipping transaction was committed."""
        self.count("sentinel_records_total", "stored", amount=records)
        self.count("sentinel_records_total", "poisoned", amount=poisoned)
        self.observe("sentinel_ship_seconds", seconds)

    def on_store(self, *, up: bool) -> None:
        """The store went away or came back."""
        self.set("sentinel_store_up", 1 if up else 0)

    def on_spool(self, waiting_bytes: int) -> None:
        """How large the spool is."""
        self.set("sentinel_spool_bytes", waiting_bytes)

    def count(self, name: str, *labels: str, amount: float = 1) -> None:
        """Raise a counter; label values in the order METRICS gives them. Raises KeyError for an unknown name."""
        values = self._values[name]
        key = self._bounded(name, values, labels)
        values[key] = values.get(key, 0.0) + amount

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        values = self._values[name]
        values[self._bounded(name, values, labels)] = value

    def value(self, name: str, *labels: str) -> float:
        """What a counter or gauge stands at; 0 for label values it has not met. Raises KeyError for an unknown name."""
        return self._values[name].get(labels, 0.0)

    def set_all(self, name: str, values: Mapping[Labels, float]) -> None:
        """Set a gauge for exactly these label sets; what is not among them vanishes (a removed target, say)."""
        self._values[name] = {}
        for labels, value in values.items():
            self.set(name, value, *labels)

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        """Add one duration to a histogram."""
        buckets = self._histogram(name, labels)
        buckets.counts[bisect_left(buckets.bounds_s, seconds)] += 1
        buckets.total_s += seconds

    def render(self) -> bytes:
        """The text exposition format, version 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Family]:
        """The families, for prometheus_client."""
        for metric in METRICS:
            if metric.kind == "histogram":
                yield self._histogram_family(metric)
                continue
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in self._values[metric.name].items():
                family.add_metric(labels, value)
            yield family

    def _on_series(self, key: SeriesKey, tally: Tally) -> None:
        route = key.route or _NO_ROUTE
        method = key.method if key.method in METHODS else OTHER
        tenant = key.tenant if self._tenants else ""
        status_class = f"{key.status // 100}xx"
        self.count("sentinel_requests_total", route, method, status_class, tenant, amount=tally.requests)
        if key.error:
            self.count("sentinel_errors_total", route, key.error, amount=tally.requests)
        self._merge(self._histogram("sentinel_request_duration_seconds", (route,)), tally)
        if key.target:
            self._merge(self._histogram("sentinel_upstream_duration_seconds", (key.upstream, key.target)), tally)

    def _on_ledger(
        self, phases: tuple[tuple[str, Callable[[RequestRecord], int]], ...], records: Sequence[RequestRecord]
    ) -> None:
        for phase, of in phases if records else ():
            buckets = self._histogram(_PHASES, (phase,))
            spent_us = [of(record) for record in records]
            for duration_us in spent_us:
                buckets.counts[bisect_left(PHASE_BOUNDS_S, duration_us / _MICROSECONDS)] += 1
            buckets.total_s += sum(spent_us) / _MICROSECONDS

    def _merge(self, into: _Buckets, tally: Tally) -> None:
        for index, count in tally.latency.items():
            place = self._bucket_of.get(index)
            if place is None:  # bins are few: log γ of a day in microseconds is below 1,300
                place = self._bucket_of[index] = bisect_left(BOUNDS_S, value_of(index) / _MICROSECONDS)
            into.counts[place] += count
        into.total_s += tally.duration_us / _MICROSECONDS

    def _on_levels(self, worker: str, levels: dict[str, float]) -> None:
        """Add up the gauges of all workers.

        A batch says all of one worker life's gauges. A life that was killed says nothing more, so it is forgotten when
        the next life of the same worker number speaks; one that ends in order says itself that nothing is left.
        """
        number = worker.rpartition("-")[2]
        self._levels = {life: kept for life, kept in self._levels.items() if life.rpartition("-")[2] != number}
        if levels:
            self._levels[worker] = levels
        sums: dict[str, dict[Labels, float]] = {
            name: dict.fromkeys(self._values[name], 0.0) for name in _FROM_WORKERS & self._gauges
        }
        for kept in self._levels.values():
            for key, level in kept.items():
                name, *labels = key.split("|")
                sums[name][tuple(labels)] = sums[name].get(tuple(labels), 0.0) + level
        for name, values in sums.items():
            self.set_all(name, values)

    def _on_worker_counter(self, key: str, amount: float, levels: dict[str, float]) -> None:
        name, *labels = key.split("|")
        known = name in _FROM_WORKERS and len(labels) == len(self._metrics[name].labels)
        if known and math.isfinite(amount) and amount >= 0:
            if name in self._gauges:
                levels[key] = amount
                return
            self.count(name, *labels, amount=amount)
        else:
            self.count("sentinel_metrics_ignored_total")

    def _histogram(self, name: str, labels: Labels) -> _Buckets:
        histograms = self._histograms[name]
        key = self._bounded(name, histograms, labels)
        found = histograms.get(key)
        if found is None:
            found = histograms[key] = _Buckets(name)
        return found

    def _bounded(self, name: str, kept: Mapping[Labels, object], labels: Labels) -> Labels:
        """The label set itself while there is room, else one of "other"."""
        if labels in kept:
            return labels
        if len(labels) != len(self._metrics[name].labels):
            message = f"{name} has the labels {self._metrics[name].labels}, not {len(labels)} of them"
            raise ValueError(message)
        if len(kept) < self._most_series:
            return labels
        self.count("sentinel_metrics_ignored_total")
        return (OTHER,) * len(labels)

    def _histogram_family(self, metric: Metric) -> HistogramMetricFamily:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, buckets in self._histograms[metric.name].items():
            running, rows = 0, []
            le = [*(f"{bound:g}" for bound in buckets.bounds_s), "+Inf"]
            for bound, count in zip(le, buckets.counts, strict=True):
                running += count
                rows.append((bound, float(running)))
            family.add_metric(labels, rows, buckets.total_s)
        return family

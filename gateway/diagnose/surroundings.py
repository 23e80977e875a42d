"""Sentences about the suspected place and what surrounds it, each with an id, its numbers and where to look it up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.diagnose.redaction import quoted
from gateway.domain.diagnosis import Evidence, Hypothesis
from gateway.domain.histogram import above, quantile
from gateway.domain.incident import Place
from gateway.domain.traffic import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.diagnose.before_and_now import BeforeAndNow, Row
    from gateway.diagnose.topology import Blame
    from gateway.domain.topology import Topology

_ENDINGS = {
    ErrorKind.UPSTREAM_UNAVAILABLE: "no connection could be made",
    ErrorKind.UPSTREAM_TIMEOUT: "no answer came in time",
    ErrorKind.UPSTREAM_PROTOCOL: "the answer was not valid HTTP",
    ErrorKind.UPSTREAM_TRUNCATED: "the answer was cut short",
    ErrorKind.APP_FAILED: "the application raised, or gave no answer",
    ErrorKind.OVERLOADED: "the gateway's queue for it was full",
    "": "the service itself answered with an error",
}
_MOST_TENANTS = 5
_MOST_ENDINGS = 3
_STRAY = 1  # bad requests that make nobody a victim


class Facts:
    """Collects evidence and numbers it."""

    def __init__(self) -> None:
        self.items: list[Evidence] = []

    def add(self, kind: str, statement: str, values: dict[str, float | int | str], link: str = "") -> str:
        """Keep a fact; returns its id."""
        identifier = f"e{len(self.items) + 1}"
        self.items.append(Evidence(identifier, kind, statement, values, link))
        return identifier


class Surroundings:
    """Statements about the suspect and what is around it."""

    def __init__(self, facts: Facts, spans: BeforeAndNow, topology: Topology, suspect: Place, *, latency: bool) -> None:
        self._facts = facts
        self._spans = spans
        self._topology = topology
        self._suspect = suspect
        self._latency = latency
        self._upstream = suspect.upstream or topology.upstream_of.get(suspect.route, "")
        self._limit = spans.slow_limits().get(self._upstream, 0.0)

    def _bad(self, row: Row) -> tuple[int, int]:
        """Bad requests now and before."""
        if self._latency:
            return above(row.now.latency, self._limit), above(row.before.latency, self._limit)
        return row.now.errors, row.before.errors

    def series(self) -> str:
        """The suspect's upstream now against before."""
        row = self._spans.by("upstream").get((self._upstream,))
        if row is None or not row.now.requests:
            return ""
        begun, until = clock(self._spans.since), clock(self._spans.until)
        earlier = f"in the {ago(self._spans.before[1] - self._spans.before[0])} before"
        values: dict[str, float | int | str] = {
            "requests": row.now.requests,
            "errors": row.now.errors,
            "share": round(row.now.error_share, 4),
            "share_before": round(row.before.error_share, 4),
            "requests_before": row.before.requests,
        }
        if self._latency:
            p95, p95_before = (quantile(tally.latency, 0.95) or 0.0 for tally in (row.now, row.before))
            values |= {"p95_us": round(p95), "p95_before_us": round(p95_before)}
            what = f"p95 of upstream {self._upstream} was {p95 / 1000:.0f} ms over {row.now.requests} requests"
            usual = f"{earlier} it was {p95_before / 1000:.0f} ms"
        else:
            what = f"{percent(row.now.error_share)} of {row.now.requests} requests to upstream {self._upstream} failed"
            usual = f"{earlier} {percent(row.before.error_share)} of {row.before.requests}"
        if not row.before.requests:
            usual = "there is no traffic before to compare with"
        statement = f"Between {begun} and {until} {what}; {usual}."
        return self._facts.add("series", statement, values, self._link(Place(upstream=self._upstream)))

    def endings(self) -> str:
        """How the suspect's requests fail; of no interest where they are slow."""
        if self._latency:
            return ""
        found: dict[tuple[int, str], int] = {}
        for (upstream, target, status, error), count in self._spans.endings.items():
            if upstream == self._upstream and self._suspect.target in {"", target}:
                key = (int(status), str(error))
                found[key] = found.get(key, 0) + count
        total = sum(found.values())
        if not total:
            return ""
        parts, values = [], dict[str, float | int | str]()
        for (status, error), count in sorted(found.items(), key=lambda item: -item[1])[:_MOST_ENDINGS]:
            parts.append(f"{count} × {status} ({_ENDINGS.get(error, 'for another reason')})")
            values[f"{status} {error}".strip()] = count
        statement = f"How the {total} failures ended: {', '.join(parts)}."
        return self._facts.add("sample", statement, values, self._link(self._suspect))

    def _siblings(self) -> dict[str, Row]:
        rows = self._spans.by("upstream", "target")
        return {target: row for (upstream, target), row in rows.items() if upstream == self._upstream and target}

    def comparison(self) -> str:
        """The suspect target against the others of its upstream, or all its targets side by side."""
        targets = {name: row for name, row in self._siblings().items() if row.now.requests}
        if len(targets) < 2 or not self._upstream:  # noqa: PLR2004 - a comparison needs two
            return ""
        parts, values = [], dict[str, float | int | str]()
        for name, row in sorted(targets.items(), key=lambda item: -self._bad(item[1])[0] / item[1].now.requests):
            bad, requests = self._bad(row)[0], row.now.requests
            values |= {f"bad {name}": bad, f"requests {name}": requests}
            parts.append(f"{name} {percent(bad / requests)} of {requests}")
        word = "Slow" if self._latency else "Failed"
        statement = f"{word} requests per target of {self._upstream}: {'; '.join(parts)}."
        return self._facts.add("comparison", statement, values, self._link(Place(upstream=self._upstream)))

    def siblings_well(self) -> list[tuple[str, Row]]:
        """The suspect target's siblings, if all of them that have traffic are well; else none."""
        others = [
            (name, row)
            for name, row in self._siblings().items()
            if self._suspect.target and name != self._suspect.target and row.now.requests
        ]
        return others if all(self._well(row) for _, row in others) else []

    def ruled_out(self) -> list[Hypothesis]:
        """The service as a whole, when the suspect's siblings are well."""
        well = self.siblings_well()
        if not well:
            return []
        bad, requests = sum(self._bad(row)[0] for _, row in well), sum(row.now.requests for _, row in well)
        verb = "are slow" if self._latency else "fail"
        evidence = next((one.id for one in self._facts.items if one.kind == "comparison"), "")
        return [
            Hypothesis(
                id="",
                statement=f"Upstream {self._upstream} as a whole is at fault",
                upstream=self._upstream,
                ruled_out=True,
                evidence=(evidence,) if evidence else (),
                why=f"at {', '.join(name for name, _ in well)} {bad} of {requests} requests {verb}",
            )
        ]

    def _well(self, row: Row) -> bool:
        bad, bad_before = self._bad(row)
        usual = bad_before / row.before.requests if row.before.requests else 0.0
        return bad <= max(1.0, (usual + 0.05) * row.now.requests)

    def healthy_callees(self, blames: Sequence[Blame]) -> list[Hypothesis]:
        """What the suspect calls and what is well."""
        found = []
        anomalous = {one.upstream for one in blames}
        for callee in self._topology.depends_on.get(self._upstream, ()):
            row = self._spans.by("upstream").get((callee,))
            if callee in anomalous or row is None or not row.now.requests:
                continue
            statement = (
                f"{self._upstream} calls {callee}, which is well: {percent(row.now.error_share)} of "
                f"{row.now.requests} requests failed, p95 {(quantile(row.now.latency, 0.95) or 0) / 1000:.0f} ms."
            )
            identifier = self._facts.add(
                "topology",
                statement,
                {"requests": row.now.requests, "errors": row.now.errors},
                self._link(Place(upstream=callee)),
            )
            found.append(
                Hypothesis(
                    id="",
                    statement=f"Upstream {callee} is at fault",
                    upstream=callee,
                    ruled_out=True,
                    evidence=(identifier,),
                    why=f"{percent(row.now.error_share)} of its {row.now.requests} requests failed, as usual",
                )
            )
        return found

    def hurt(self) -> None:
        """Who is hurt: routes and tenants, everywhere the disturbance shows."""
        limits = self._spans.slow_limits()
        routes: dict[str, list[int]] = {}
        tenants: dict[str, list[int]] = {}
        for (route, tenant, upstream), row in self._spans.by("route", "tenant", "upstream").items():
            bad = above(row.now.latency, limits.get(upstream, 1e12)) if self._latency else row.now.errors
            for group, name in ((routes, route), (tenants, tenant)):
                sums = group.setdefault(name, [0, 0])
                sums[0] += bad
                sums[1] += row.now.requests
        self._hurt_of("route", routes)
        self._hurt_of("tenant", tenants)

    def _hurt_of(self, what: str, sums: dict[str, list[int]]) -> None:
        worst = max((bad / total for bad, total in sums.values() if total), default=0.0)
        # Every service has a stray failure now and then: only what is hurt a tenth as much as the worst is named.
        hurt = sorted(
            (
                (bad, total, name)
                for name, (bad, total) in sums.items()
                if name and bad > _STRAY and bad > 0.1 * worst * total
            ),
            reverse=True,
        )
        if not hurt:
            return
        parts, values = [], dict[str, float | int | str]()
        for position, (bad, total, name) in enumerate(hurt[:_MOST_TENANTS], 1):
            shown = quoted(name) if what == "tenant" else name
            parts.append(f"{shown} {bad} of {total} requests ({percent(bad / total)})")
            values |= {f"{what}_{position}": name, f"bad_{position}": bad, f"requests_{position}": total}
        more = f", and {len(hurt) - _MOST_TENANTS} more" if len(hurt) > _MOST_TENANTS else ""
        statement = f"Hurt {what}s: {', '.join(parts)}{more}."
        self._facts.add("blast_radius", statement, values, self._link(Place()))

    def _link(self, place: Place) -> str:
        query: dict[str, str] = {"since": rfc3339(self._spans.since)}
        if place.upstream:
            query["upstream"] = place.upstream
        if place.target:
            query["target"] = place.target
        return f"/api/v1/requests?{urlencode(query)}"


def percent(share: float) -> str:
    """A share in percent, with the digits that matter."""
    shown = share * 100
    return f"{shown:.0f} %" if shown >= 10 or shown == 0 else f"{shown:.1f} %"  # noqa: PLR2004 - digits that matter


def clock(at: float) -> str:
    """The time of day, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def rfc3339(at: float) -> str:
    """A time in RFC 3339."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(seconds: float) -> str:
    """A span in seconds or minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004 - two minutes

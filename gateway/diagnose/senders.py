"""Who is hurt and who causes it, by what callers are: their network, their subject, their program and its version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.diagnose.attribution import Leaf, Pattern, attribute
from gateway.diagnose.redaction import quoted
from gateway.diagnose.surroundings import percent
from gateway.domain.senders import CELL_S, DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.diagnose.surroundings import Facts
    from gateway.domain.senders import Ended

_SPOKEN = {"client": "from network", "subject": "of subject", "agent": "by program"}
_LEAST_COVERED = 0.8  # of the trouble: only then is it these callers' and not everybody's
_MOST_TRAFFIC = 0.8  # of the requests: a value that nearly all share tells nothing apart
_LEAST_RATIO = 9.0  # ln; about one in ten thousand
_TIMES_OTHERS = 3.0
_NEAR_BEST = 0.8  # of the best explanation's likelihood ratio
_LEAST_OF_CHANGE = 0.5  # of a change of traffic
_NONE = (0, 0)


class KnownSenders(Protocol):
    """How requests of callers ended."""

    def ended(
        self, start: float, end: float, upstream: str, *, slower_than_us: float | None = None
    ) -> Mapping[tuple[str, str], Ended]:
        """By (dimension, value) over [start, end)."""
        ...


class Spans:
    """The disturbance and the time before, in the cells that senders are counted in."""

    def __init__(self, since: float, until: float, before: tuple[float, float]) -> None:
        # The cell of the onset holds both; it counts to the disturbance unless that would be its smaller part.
        start = round(since / CELL_S) * CELL_S
        self.now = (float(start), max(until, start + 1.0))
        self.before = (before[0], float(start))


def troubled(
    facts: Facts, senders: KnownSenders, spans: Spans, upstream: str, *, slower_than_us: float | None = None
) -> None:
    """Say whose requests fail (or are slow) where others' do not; silent where it is everybody's."""
    now = senders.ended(*spans.now, upstream, slower_than_us=slower_than_us)
    before = senders.ended(*spans.before, upstream, slower_than_us=slower_than_us)
    found: list[tuple[str, Pattern, list[Leaf]]] = []
    for dimension in DIMENSIONS:
        leaves = [
            Leaf((value,), *ended, *before.get((name, value), _NONE))
            for (name, value), ended in sorted(now.items())
            if name == dimension
        ]
        pattern = next(iter(attribute((dimension,), leaves)), None)
        if pattern is not None and _tells(pattern, leaves):
            found.append((dimension, pattern, leaves))
    # Whoever sends from one network may be most of a subject, too: what explains far less is only its shadow.
    best = max((pattern.likelihood_ratio for _, pattern, _ in found), default=0.0)
    for dimension, pattern, leaves in found:
        if pattern.likelihood_ratio >= _NEAR_BEST * best:
            _tell(facts, dimension, pattern, leaves, "failed" if slower_than_us is None else "were slow")


def _tell(facts: Facts, dimension: str, pattern: Pattern, leaves: Sequence[Leaf], happened: str) -> None:
    members = [values[0][1] for values in pattern.members or (pattern.values,)]
    bad, total = sum(leaf.bad for leaf in leaves), sum(leaf.total for leaf in leaves)
    statement = (
        f"Requests {_SPOKEN[dimension]} {', '.join(quoted(member) for member in members)} hold "
        f"{percent(pattern.coverage)} of what is unusual: {pattern.bad:.0f} of {pattern.total:.0f} {happened}, "
        f"of all others {bad - pattern.bad:.0f} of {total - pattern.total:.0f}."
    )
    values: dict[str, float | int | str] = {f"{dimension}_{at}": member for at, member in enumerate(members, 1)}
    values |= {"bad": round(pattern.bad), "total": round(pattern.total)}
    values["coverage"] = round(pattern.coverage, 3)
    facts.add("attribution", statement, values)


def _tells(pattern: Pattern, leaves: Sequence[Leaf]) -> bool:
    bad, total = sum(leaf.bad for leaf in leaves), sum(leaf.total for leaf in leaves)
    others = total - pattern.total
    rate_of_others = (bad - pattern.bad) / others if others else 0.0
    return (
        pattern.coverage >= _LEAST_COVERED
        and pattern.total <= _MOST_TRAFFIC * total
        and pattern.likelihood_ratio >= _LEAST_RATIO
        and pattern.bad / pattern.total >= _TIMES_OTHERS * rate_of_others
    )


def changed(facts: Facts, senders: KnownSenders, spans: Spans, upstream: str) -> None:
    """Say who sends more or less, where one value of a dimension makes most of a change of traffic."""
    seconds, seconds_before = (max(1.0, end - start) for start, end in (spans.now, spans.before))
    now, before = senders.ended(*spans.now, upstream), senders.ended(*spans.before, upstream)
    for dimension in DIMENSIONS:
        rates = {
            value: (
                now.get((name, value), _NONE)[1] / seconds,
                before.get((name, value), _NONE)[1] / seconds_before,
            )
            for name, value in sorted(now.keys() | before.keys())
            if name == dimension and value
        }
        whole = sum(lately - usual for lately, usual in rates.values())
        if len(rates) < 2 or not whole:  # noqa: PLR2004 - one alone tells nothing apart
            continue
        value, (lately, usual) = max(rates.items(), key=lambda item: (item[1][0] - item[1][1]) / whole)
        share = (lately - usual) / whole
        if share >= _LEAST_OF_CHANGE:
            statement = (
                f"Requests {_SPOKEN[dimension]} {quoted(value)} make {percent(min(share, 1.0))} of the change: "
                f"{lately:.1f} requests/s, before {usual:.1f}."
            )
            facts.add("blast_radius", statement, {dimension: value, "difference": round(lately - usual, 2)})

"""Score the product's excess conservation on labelled incidents: which service is the cause?

``python -m tests.evals.topology --data DIR`` takes cases at any depth below DIR: a folder with ``target.json`` (where
and when the alert was, the labelled root cause) and ``metrics.csv`` (requests, latency and availability per service and
bucket), below a folder with ``graph.csv`` (who calls whom) and, where there is one, ``noissue/metrics.csv`` (quiet
time). ``--unseen SHARE`` forgets so many of the calls, drawn with ``--seed``. The last line printed is one JSON object:
how often the labelled service is among the first 1, 3 and 5 answers; exact is how often it is the only first one.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

from gateway.diagnose.topology import Load, Suspect, blame, suspects
from gateway.domain.topology import Topology

_HEAD = 3  # lines that name service, metric and statistic
_BUCKET_S = 300.0
_QUIETEST = 2  # buckets of the case itself, where no quiet time is known
_NORMAL = 1.4826  # a normal standard deviation in median absolute deviations


class Bucket(NamedTuple):
    """One service in five minutes: requests, and badness per request (mean seconds, or the share that failed)."""

    requests: float
    rate: float


class Table(NamedTuple):
    """A metrics file: when its buckets begin, and per service its buckets where it had any requests."""

    times: list[float]
    buckets: dict[str, dict[float, Bucket]]


def table_of(path: Path, *, latency: bool) -> Table:
    with path.open(newline="") as lines:
        names, metrics, statistics, *rows = list(csv.reader(lines))
    metric = "latency" if latency else "availability"
    columns = {
        (name, measure): place
        for place, (name, measure, statistic) in enumerate(zip(names, metrics, statistics, strict=True))
        if (measure, statistic) in {("requests", "Sum"), (metric, "Average")}
    }
    rows = [row for row in rows if row and row[0] and row[0][0].isdigit()]
    buckets: dict[str, dict[float, Bucket]] = {}
    for name in {name for name, _ in columns}:
        requests_at, rate_at = columns.get((name, "requests")), columns.get((name, metric))
        if requests_at is None or rate_at is None:
            continue
        for row in rows:
            if row[requests_at] and row[rate_at] and float(row[requests_at]) > 0:
                value = float(row[rate_at])
                rate = value if latency else 1 - value / 100
                buckets.setdefault(name, {})[float(row[0])] = Bucket(float(row[requests_at]), rate)
    return Table([float(row[0]) for row in rows], buckets)


def calls_of(path: Path) -> list[tuple[str, str]]:
    """Every (caller, callee) of a matrix of calls."""
    with path.open(newline="") as lines:
        head, *rows = list(csv.reader(lines))
    return [
        (row[0], callee)
        for row in rows
        for callee, weight in zip(head[1:], row[1:], strict=True)
        if weight and float(weight) > 0
    ]


def topology_of(calls: list[tuple[str, str]]) -> Topology:
    depends_on: dict[str, tuple[str, ...]] = {}
    for caller, callee in calls:
        depends_on[caller] = (*depends_on.get(caller, ()), callee)
    return Topology(depends_on=depends_on)


def loads_of(case: Table, quiet: Table | None, target: str, alert: float) -> dict[str, Load]:
    """Traffic of the first whole bucket after the alert, and what is usual."""
    active = next((at for at in case.times if at >= alert), case.times[-1])
    # The alert's own bucket and the one behind the active one may hold part of the fault.
    others = [at for at in case.times if not alert - _BUCKET_S <= at <= active + _BUCKET_S] or case.times[:1]
    shown = case.buckets.get(target, {})
    calm = sorted(others, key=lambda at: shown[at].rate if at in shown else float("inf"))[:_QUIETEST]
    loads = {}
    for name, buckets in case.buckets.items():
        if (now := buckets.get(active)) is None:
            continue
        known = list(quiet.buckets.get(name, {}).values()) if quiet else []
        if known:
            usual = median(one.rate for one in known)
            spread = _NORMAL * median(abs(one.rate - usual) for one in known)
            requests = sum(one.requests for one in known)
        else:
            near = [buckets[at] for at in calm if at in buckets]
            requests, spread = sum(one.requests for one in near), 0.0
            usual = sum(one.rate * one.requests for one in near) / requests if requests else 0.0
        loads[name] = Load(now.requests, now.rate * now.requests, requests, usual * requests, spread)
    return loads


def nearest(start: Path, wanted: str, top: Path) -> Path | None:
    """The file below the folder or, failing that, below one of those above it, up to ``top``."""
    for folder in (start, *start.parents):
        if (folder / wanted).exists():
            return folder / wanted
        if folder == top:
            return None
    return None


def answer(folder: Path, top: Path, unseen: float, draw: random.Random) -> tuple[str, str, list[Suspect]]:
    """The alerting service, the labelled cause and the ranked answers of a case."""
    label = json.loads((folder / "target.json").read_text())
    target = label["target"]["node"]
    latency = label["target"]["metric"] == "latency"
    graph = nearest(folder, "graph.csv", top)
    calls = [call for call in (calls_of(graph) if graph else []) if draw.random() >= unseen]
    quiet_path = nearest(folder, "noissue/metrics.csv", top)
    quiet = table_of(quiet_path, latency=latency) if quiet_path else None
    case = table_of(folder / "metrics.csv", latency=latency)
    loads = loads_of(case, quiet, target, float(label["target"]["timestamp"]))
    topology = topology_of(calls)
    ranked = suspects(blame(loads, topology, latency=latency), target, topology)
    return target, label["root_cause"]["node"], list(ranked)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the cases")
    parser.add_argument("--unseen", type=float, default=0.0, help="share of the calls to forget")
    parser.add_argument("--draws", type=int, default=1, help="how often to draw which calls are forgotten")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    folders = sorted(path.parent for path in options.data.rglob("target.json"))
    if not folders:
        print(f"no target.json below {options.data}: one folder per case is needed", file=sys.stderr)
        return 2
    draw = random.Random(options.seed)
    places: list[int] = []
    exact = 0
    began = perf_counter()
    for folder in folders * max(1, options.draws):
        target, cause, ranked = answer(folder, options.data, options.unseen, draw)
        names = [one.upstream for one in ranked]
        places.append(names.index(cause) + 1 if cause in names else 0)
        exact += names[:1] == [cause] and (len(ranked) == 1 or ranked[0].score > ranked[1].score)
        if places[-1] != 1:
            first = ", ".join(f"{one.upstream} {one.score:.3g}" for one in ranked[:3])
            print(f"{folder.relative_to(options.data)}: {target} hurt by {cause}, place {places[-1]}: {first}")
    print(f"{(perf_counter() - began) / len(places) * 1000:.1f} ms a case with reading", file=sys.stderr)
    share = {f"top{depth}": round(sum(0 < at <= depth for at in places) / len(places), 4) for depth in (1, 3, 5)}
    print(json.dumps({"cases": len(places), **share, "exact": round(exact / len(places), 4)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

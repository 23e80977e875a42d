"""How long attribution takes over many leaf rows: ``python -m tests.evals.attribution_speed [--rows N]``.

Made-up traffic of twenty services with one sick target that shows for one method only. The last line printed is one
JSON object: rows, the quickest of five runs in milliseconds, and whether the sick place is the first answer.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from time import perf_counter

from gateway.diagnose.attribution import Leaf, attribute

ATTRIBUTES = ("route", "upstream", "target", "tenant", "method", "client")
SICK = {("target", "t3-4"), ("method", "GET")}


def leaves(count: int, seed: int = 1) -> list[Leaf]:
    draw = random.Random(seed)
    rows: dict[tuple[str, ...], Leaf] = {}
    while len(rows) < count:
        service = draw.randrange(20)
        target, method = f"t{service}-{draw.randrange(8)}", draw.choice(("GET", "POST"))
        tenant, client = f"c{draw.randrange(400)}", f"k{draw.randrange(30)}"
        values = (f"r{service}-{draw.randrange(5)}", f"u{service}", target, tenant, method, client)
        total, share = draw.randrange(1, 20), 0.6 if {("target", target), ("method", method)} == SICK else 0.01
        bad = sum(draw.random() < share for _ in range(total))
        rows[values] = Leaf(values, bad, total, sum(draw.random() < 0.01 for _ in range(3 * total)), 3 * total)
    return list(rows.values())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args(arguments)
    rows = leaves(options.rows)
    took = []
    for _ in range(5):
        began = perf_counter()
        found = attribute(ATTRIBUTES, rows)
        took.append(perf_counter() - began)
    right = bool(found) and any(set(values) == SICK for values in (found[0].values, *found[0].aliases))
    print(json.dumps({"rows": len(rows), "ms": round(min(took) * 1000, 1), "found": right}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

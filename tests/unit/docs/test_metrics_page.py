"""docs/reference/metrics.md is the table of gateway/metrics.py, and its queries speak of nothing else."""

from __future__ import annotations

import re

from gateway.metrics import METRICS
from tests.unit.docs.pages import ROOT

TEXT = (ROOT / "docs" / "reference" / "metrics.md").read_text()


def test_every_metric_is_documented_with_kind_and_labels() -> None:
    rows = re.findall(r"^\| `(sentinel_\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", TEXT, re.MULTILINE)
    documented = {(name, kind, tuple(re.findall(r"`(\w+)`", labels)), meaning) for name, kind, labels, meaning in rows}
    assert documented == {(one.name, one.kind, one.labels, one.help) for one in METRICS}


def test_every_metric_that_is_named_exists() -> None:
    families = {name for one in METRICS for name in (one.name, f"{one.name}_bucket")}
    assert set(re.findall(r"\bsentinel_[a-z_]+", TEXT)) <= families

"""Grafana's dashboard and Prometheus' rules speak only of metrics and labels that exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from gateway.metrics import METRICS
from gateway.resources import folder

DASHBOARDS = folder("dashboards")
RULES = sorted((DASHBOARDS / "prometheus" / "rules").glob("*.yml"))
GRAFANA = sorted((DASHBOARDS / "grafana" / "dashboards").glob("*.json"))
KNOWN = {
    name
    for metric in METRICS
    for name in (
        [metric.name]
        if metric.kind != "histogram"
        else [metric.name + suffix for suffix in ("_bucket", "_sum", "_count")]
    )
}
LABELS = {
    metric.name: {*metric.labels, "le"} if metric.kind == "histogram" else set(metric.labels) for metric in METRICS
}


def expressions() -> list[tuple[str, str]]:
    found = []
    for path in RULES:
        document = yaml.safe_load(path.read_text())
        found += [(path.name, rule["expr"]) for group in document["groups"] for rule in group["rules"]]
    for path in GRAFANA:
        document = json.loads(path.read_text())
        found += [(path.name, target["expr"]) for panel in document["panels"] for target in panel["targets"]]
        found += [(path.name, note["expr"]) for note in document["annotations"]["list"]]
    return found


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_metric_in_a_rule_or_panel_exists(where: str, expression: str) -> None:
    used = set(re.findall(r"\bsentinel_[a-z_]+", expression))
    assert used <= KNOWN, f"{where} names {sorted(used - KNOWN)}"


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_label_in_a_selector_belongs_to_its_metric(where: str, expression: str) -> None:
    for name, selector in re.findall(r"\b(sentinel_[a-z_]+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*[=!]~?", selector))
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        assert labels <= LABELS[family], f"{where}: {name} has no label {sorted(labels - LABELS[family])}"


def test_recorded_series_that_alerts_use_are_recorded() -> None:
    text = "\n".join(path.read_text() for path in RULES)
    recorded = set(re.findall(r"record: (\S+)", text))
    used = set(re.findall(r"\bsentinel:[a-z0-9_:]+", text))
    assert used == recorded


@pytest.mark.promtool
def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None and os.environ.get("CI") != "true":
        pytest.skip("promtool is not on this machine (Debian: apt install prometheus)")
    assert promtool is not None
    for arguments in (["rules", *RULES], ["config", DASHBOARDS / "prometheus" / "prometheus.yml"]):
        ran = subprocess.run([promtool, "check", *map(str, arguments)], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_provisioned_dashboard_folder_holds_a_dashboard() -> None:
    titles = [json.loads(path.read_text())["title"] for path in GRAFANA]
    assert "SentinelStack: gateway overview" in titles
    assert Path(GRAFANA[0]).read_text().count('"type": "prometheus"') > 10

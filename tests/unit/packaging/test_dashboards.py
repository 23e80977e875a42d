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
    assert used == {name for name in recorded if name.startswith("sentinel:")}


@pytest.mark.promtool
def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None and os.environ.get("CI") != "true":
        pytest.skip("promtool is not on this machine (Debian: apt install prometheus)")
    assert promtool is not None
    for arguments in (["rules", *RULES], ["config", DASHBOARDS / "prometheus" / "prometheus.yml"]):
        ran = subprocess.run([promtool, "check", *map(str, arguments)], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_objectives_have_their_names() -> None:
    groups = yaml.safe_load((DASHBOARDS / "prometheus" / "rules" / "slo.yml").read_text())["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert recorded >= {
        "slo:availability:hourly",
        "slo:availability:daily",
        "slo:availability:monthly",
        "slo:error_budget:remaining",
        "slo:burnrate:2h",
        "slo:burnrate:24h",
        "slo:error_rate:5m",
    }
    assert alerts >= {"SLO_Uptime_BurnRateFast", "SLO_ErrorRate_High", "SLO_LatencyHigh"}
    assert len(alerts) == 8


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_recorded_objective_that_is_used_is_recorded(where: str, expression: str) -> None:
    recorded = set(re.findall(r"record: (slo:\S+)", "\n".join(path.read_text() for path in RULES)))
    assert set(re.findall(r"\bslo:[a-z0-9_:]+", expression)) <= recorded, where


@pytest.mark.promtool
def test_the_objectives_fire_on_a_fault_and_only_then() -> None:
    promtool = shutil.which("promtool")
    if promtool is None and os.environ.get("CI") != "true":
        pytest.skip("promtool is not on this machine (Debian: apt install prometheus)")
    assert promtool is not None
    cases = Path(__file__).with_name("slo_rules.yml")
    ran = subprocess.run([promtool, "test", "rules", str(cases)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_provisioned_dashboard_folder_holds_a_dashboard() -> None:
    titles = [json.loads(path.read_text())["title"] for path in GRAFANA]
    assert {"SentinelStack: gateway overview", "SentinelStack: SLO error budget"} <= set(titles)
    assert Path(GRAFANA[0]).read_text().count('"type": "prometheus"') > 10

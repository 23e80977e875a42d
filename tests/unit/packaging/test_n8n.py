"""The n8n workflows are whole: every connection leads to a node, and the gateway's signature is checked first."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "dashboards/n8n"
FILES = sorted(FOLDER.glob("*.json"))


def test_there_are_workflows() -> None:
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_workflow_can_be_imported(file: Path) -> None:
    workflow = json.loads(file.read_text())
    names = [node["name"] for node in workflow["nodes"]]
    assert len(set(names)) == len(names)
    for node in workflow["nodes"]:
        assert node["type"].startswith("n8n-nodes-base.")
        assert node["typeVersion"] > 0
        assert len(node["position"]) == 2
        assert UUID(node["id"])
    for source, outputs in workflow["connections"].items():
        assert source in names
        assert {link["node"] for branch in outputs["main"] for link in branch} <= set(names)
    assert not workflow["active"]  # whoever imports it looks first


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_runs_before_the_signature_is_checked(file: Path) -> None:
    workflow = json.loads(file.read_text())
    (hook,) = [node for node in workflow["nodes"] if node["type"].endswith(".webhook")]
    assert hook["parameters"]["options"]["rawBody"]
    (after,) = workflow["connections"][hook["name"]]["main"][0]
    code = next(node for node in workflow["nodes"] if node["name"] == after["node"])["parameters"]["jsCode"]
    assert "timingSafeEqual" in code
    assert "x-sentinel-signature" in code

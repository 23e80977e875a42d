"""State and decision tables in the explanations are drawn from the code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from gateway.detect.detectors import in_service
from gateway.domain.incident import TRANSITIONS
from gateway.domain.plan import ACTION_TRANSITIONS, ActionKind, Mode, Risk
from gateway.domain.policy import DetectSettings
from gateway.remediate.risk_policy import DECISIONS
from tests.unit.docs.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

EXPLANATION = ROOT / "docs" / "explanation"


def table_after(page: str, marker: str) -> list[list[str]]:
    """The rows of the table that follows a marker comment, without its head."""
    _, _, rest = (EXPLANATION / page).read_text().partition(f"<!-- {marker} -->\n")
    rows = []
    for line in rest.splitlines():
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[2:]


@pytest.mark.parametrize(
    ("marker", "table"),
    [
        ("states: gateway.domain.incident.TRANSITIONS", TRANSITIONS),
        ("states: gateway.domain.plan.ACTION_TRANSITIONS", ACTION_TRANSITIONS),
    ],
)
def test_the_states_are_those_of_the_code(marker: str, table: Mapping[StrEnum, frozenset[StrEnum]]) -> None:
    drawn = {row[0]: row[1] for row in table_after("architecture.md", marker)}
    assert drawn == {str(state): ", ".join(sorted(map(str, table[state]))) or "–" for state in table}


def test_who_decides_is_as_the_code_decides() -> None:
    drawn = {
        row[0]: row[1:] for row in table_after("remediation.md", "decisions: gateway.remediate.risk_policy.DECISIONS")
    }
    assert drawn == {str(mode): [str(DECISIONS[mode, risk]) for risk in Risk] for mode in Mode}


def test_every_action_of_the_catalogue_is_explained() -> None:
    text = (EXPLANATION / "remediation.md").read_text()
    assert [kind for kind in ActionKind if f"`{kind}`" not in text] == []


def test_every_detector_in_service_is_explained() -> None:
    text = (EXPLANATION / "detection-and-diagnosis.md").read_text()
    explained = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
    assert explained == {getattr(detector, "name") for detector in in_service(DetectSettings())}  # noqa: B009 - not in the Protocol

"""docs/explanation/actions.md has the table of the catalogue, word for word."""

from __future__ import annotations

from pathlib import Path

from gateway.remediate.catalogue import CATALOGUE, Row

PAGE = Path(__file__).resolve().parents[3] / "docs" / "explanation" / "actions.md"


def line(row: Row) -> str:
    texts = (row.precondition, row.blast_radius, row.cost, row.returns)
    cells = [f"{text[:1].upper()}{text[1:]}." for text in texts]
    return f"| `{row.kind}` | {row.title} | {' | '.join(cells)} |"


def test_the_table_of_actions_is_the_catalogue_in_its_order() -> None:
    rows = [text for text in PAGE.read_text().splitlines() if text.startswith("| `") and text.count("|") == 7]
    assert rows == [line(row) for row in CATALOGUE.values()]

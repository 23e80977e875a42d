"""How-to pages with ``console`` blocks work as they are written."""

from __future__ import annotations

from pathlib import Path

from tests.integration.docs.console import differs, run, steps, with_free_ports

ROOT = Path(__file__).resolve().parents[3]
HOW_TO = ROOT / "docs" / "how-to"
TESTED = {"embed-the-middleware.md"}


def test_every_page_with_console_blocks_has_its_test() -> None:
    assert {page.name for page in HOW_TO.glob("*.md") if steps(page.read_text())} == TESTED


def test_the_middleware_guards_an_application_as_the_page_says(tmp_path: Path) -> None:
    page = (HOW_TO / "embed-the-middleware.md").read_text()
    seen = run(with_free_ports(page, (8000, 8001)), tmp_path)
    wrong = [trouble for one in seen if (trouble := differs(one))]
    logs = [log.read_text()[-2000:] for log in tmp_path.glob("*.log")]
    assert not wrong, "\n".join([*wrong, *logs])

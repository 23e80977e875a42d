"""The tutorial works as it is written, every command of it."""

from __future__ import annotations

from pathlib import Path

from tests.integration.docs.console import differs, run, with_free_ports

ROOT = Path(__file__).resolve().parents[3]


def test_ten_minutes_go_as_the_tutorial_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tutorial" / "ten-minutes.md").read_text()
    seen = run(with_free_ports(page, (8000, 8001, 9001, 9002)), tmp_path)
    wrong = [trouble for one in seen if (trouble := differs(one))]
    log = tmp_path / "gateway.log"
    assert not wrong, "\n".join(wrong) + (log.read_text()[-3000:] if log.exists() else "")

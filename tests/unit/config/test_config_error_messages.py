"""Every wrong file gives exactly the lines that stand in it."""

from __future__ import annotations

import pytest

from tests.unit.config import golden

NAMES = sorted(path.stem for path in golden.FOLDER.glob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_file_gives_its_exact_lines(name):
    expected, found = golden.findings(name)
    assert expected
    assert found == expected


def test_there_are_at_least_thirty_wrong_files():
    assert len(NAMES) >= 30


def test_no_line_shows_a_secret():
    lines = [line for name in NAMES for line in golden.findings(name)[1]]
    assert not [line for line in lines if "hunter2" in line or "s3cr3t" in line or "tooshort" in line]

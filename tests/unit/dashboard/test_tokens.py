"""The style sheet's tokens: one pair of values each, and enough contrast between those that meet."""

import re
from pathlib import Path

import pytest

from gateway.admin.dashboard.render import STATIC

TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", (STATIC / "dashboard.css").read_text()
    )
}
TEXT = 4.5  # WCAG 2.2, 1.4.3: normal text
CONTROL = 3.0  # WCAG 2.2, 1.4.11: borders of controls and signs

PAIRS = [
    *((ink, ground, TEXT) for ink in ("ink", "muted", "accent", "harm") for ground in ("ground", "surface", "sunken")),
    *((ink, "accent-soft", TEXT) for ink in ("ink", "muted", "accent")),
    *((ink, "harm-soft", TEXT) for ink in ("ink", "harm")),
    ("on-accent", "accent", TEXT),
    ("surface", "harm", TEXT),
    ("ground", "ink", TEXT),
    ("control", "surface", CONTROL),
    ("control", "ground", CONTROL),
]


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2, glossary)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground", "least"), PAIRS)
def test_what_is_read_stands_out_from_its_ground(ink, ground, least, theme):
    assert contrast(TOKENS[ink][theme], TOKENS[ground][theme]) >= least


def test_colours_stand_only_among_the_tokens():
    rules = (STATIC / "dashboard.css").read_text()
    body = rules[rules.index("box-sizing") :]
    allowed = re.sub(r"\.p-\w+ \{[^}]*\}|@media print \{.*", "", body)  # the ledger's tones name parts, not states
    assert re.findall(r"#[0-9a-fA-F]{3,6}\b", allowed) == []


def test_vendored_files_are_the_published_ones():
    import hashlib

    vendor = STATIC / "vendor"
    listed = dict(reversed(line.split("  ", 1)) for line in (vendor / "CHECKSUMS").read_text().splitlines())
    found = {
        str(Path(file).relative_to(vendor)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in vendor.rglob("*")
        if file.is_file() and file.parent != vendor
    }
    assert found == listed
    assert "uplot/LICENSE" in listed and "htmx/LICENSE" in listed

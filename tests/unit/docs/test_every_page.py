"""No page points to what is not there: files, headings, commands, options, targets of make."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import pytest

from tests.unit.docs.pages import ROOT, blocks, commands, name_of, pages, prose

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [pytest.param(path, id=name_of(path)) for path in pages()]
# Files a page may name although they appear only later, on the reader's machine.
FORBIDDEN = re.compile(r"\bTODO\b|\bTBD\b|lorem ipsum|coming soon", re.IGNORECASE)


def anchors(text: str) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE):
        kept = "".join(
            char for char in heading.lower() if char in "-_ " or unicodedata.category(char)[0] in "LN"
        ).replace(" ", "-")
        found.add(kept if kept not in found else f"{kept}-1")
    return found


@pytest.mark.parametrize("path", PAGES)
def test_links_within_the_repository_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, fragment = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (fragment and there.suffix == ".md" and fragment not in anchors(there.read_text())):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("path", PAGES)
def test_commands_that_a_page_names_exist(path: Path) -> None:
    text = path.read_text()
    typed = [
        line
        for block in blocks(text)
        if block.language in {"console", "sh", "bash"}
        for line in block.text.splitlines()
    ]
    typed += re.findall(r"`(sentinel [^`]+)`", prose(text))
    problems = []
    for line in typed:
        for call in re.findall(r"(?:^|[|$;&(\s]|bin/)sentinel((?: +[^|;&)>\"]+))", line):
            problem = trouble(call.split())
            if problem:
                problems.append(f"{problem}: {line.strip()}")
    assert problems == []


def trouble(words: list[str]) -> str:
    """What is wrong with the words after ``sentinel``, or nothing."""
    known = commands()
    path, rest = "sentinel", words
    while rest and any(name == f"{path} {rest[0]}" or name.startswith(f"{path} {rest[0]} ") for name in known):
        path, rest = f"{path} {rest[0]}", rest[1:]
    if path == "sentinel" and rest and re.fullmatch(r"[a-z]+", rest[0]):
        return f"no command {rest[0]}"
    if path not in known:  # a group, such as `sentinel incidents`
        return f"{path} has no {rest[0]}" if rest and re.fullmatch(r"[a-z]+", rest[0]) else ""
    options = {word.partition("=")[0] for word in rest if re.match(r"-{1,2}[a-z]", word)}
    unknown = options - known[path] - {"--help", "-h"}
    return f"{path} has no {', '.join(sorted(unknown))}" if unknown else ""


@pytest.mark.parametrize("path", PAGES)
def test_make_targets_that_a_page_names_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = path.read_text()
    named = set(re.findall(r"`make ([a-z]+)", text)) | set(re.findall(r"^\$? ?make ([a-z]+)", text, re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_finished(path: Path) -> None:
    text = path.read_text()
    assert text.strip()
    assert FORBIDDEN.findall(text) == []


def test_files_that_contributors_are_told_to_copy_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:gateway|tests|docs|domain|remediate|config|notify|detect)/[\w./-]+)`", text))
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "gateway" / name).exists()] == []


def test_the_pages_of_the_http_interface_cover_every_path() -> None:
    from gateway.admin.openapi import document

    text = (ROOT / "docs" / "reference" / "http-api.md").read_text()
    described = set(re.findall(r"^### `([A-Z]+) ([^`]+)`$", text, re.MULTILINE))
    wanted = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
    assert {pair for pair in wanted if pair[1].startswith("/api/v1")} <= described

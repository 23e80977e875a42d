"""docs/reference/cli.md and the program have the same commands, options and exit codes."""

from __future__ import annotations

import re

import pytest

from gateway.cli import terminal
from tests.unit.docs.pages import ROOT, commands

TEXT = (ROOT / "docs" / "reference" / "cli.md").read_text()
HELP = {"--help", "-h"}
INTERRUPTED = 130


def documented() -> dict[str, frozenset[str]]:
    sections = re.split(r"^## `(sentinel[^`]*)`$", TEXT, flags=re.MULTILINE)[1:]
    return {
        command: frozenset(
            option
            for row in re.findall(r"^\| (`-[^|]*) \|", section, re.MULTILINE)
            for option in re.findall(r"`(--?[a-zA-Z-]+)`", row)
        )
        for command, section in zip(sections[::2], sections[1::2], strict=True)
    }


def test_every_command_is_documented_and_no_other() -> None:
    assert sorted(documented()) == sorted(commands())


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_option_is_documented_and_no_other(command: str) -> None:
    assert documented()[command] - HELP == commands()[command] - HELP


def test_every_command_with_arguments_shows_how_it_is_called() -> None:
    shown = set(re.findall(r"`(sentinel [a-z ]+?) \[?[A-Z]+\]?`", TEXT))
    assert {"sentinel incidents approve", "sentinel config rollback", "sentinel init"} <= shown <= set(commands())


def test_the_exit_codes_are_those_of_the_program() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert codes == {terminal.OK, terminal.FAILED, terminal.USAGE, terminal.NOT_RUNNING, INTERRUPTED}

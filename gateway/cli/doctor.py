"""``sentinel doctor``: every dependency, whether it is well, and what mends it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from gateway import logs
from gateway.cli import terminal
from gateway.cli.checkups import around, here, issuers, searching
from gateway.cli.checkups.finding import Finding, State
from gateway.cli.terminal import ConfigOption, JsonOption
from gateway.config import checking, reading
from gateway.run_folder import RunFolder
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.config.document import Document

LONGEST_S = 15.0  # for everything together; single looks give up sooner

MARKS = {State.GOOD: ("✓", "green"), State.NOTE: ("!", "yellow"), State.BAD: ("✗", "red")}


def doctor(*, config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Look at everything the gateway needs. Exit 0 all good, 1 something is wrong. Example: sentinel doctor"""
    logs.configure(level="ERROR", process="doctor")
    settings = Settings.from_environ(os.environ)
    findings, document = _configuration(config, settings)
    if document is not None:
        findings += asyncio.run(_look(document, settings))
    wrong = [finding for finding in findings if finding.state is State.BAD]
    if as_json:
        terminal.print_json({"ok": not wrong, "checks": [finding.shown() for finding in findings]})
    else:
        for finding in findings:
            _show(finding)
        terminal.out.print(_verdict(len(wrong)))
    raise typer.Exit(terminal.FAILED if wrong else terminal.OK)


def _configuration(config: str, settings: Settings) -> tuple[list[Finding], Document | None]:
    """What `sentinel check` says; and the document, which also a file with errors mostly has."""
    text, missing = checking.read_file(Path(config))
    if missing is not None:
        return [Finding.bad("configuration", f"{config}: {missing.message}", missing.remedy)], None
    result = checking.check_text(text, config, settings)
    findings = [Finding.bad("configuration", str(one), "sentinel check shows all errors") for one in result.errors]
    findings += [Finding.note("configuration", str(one)) for one in result.warnings]
    if result.configuration is not None:
        document = result.configuration.document
        routes, upstreams = _counted(len(document.routes), "route"), _counted(len(document.upstreams), "upstream")
        return [Finding.good("configuration", f"{config}: {routes}, {upstreams}"), *findings], document
    read = reading.read(text, config, settings.overrides)
    return findings, read.document if read.is_toml else None


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


async def _look(document: Document, settings: Settings) -> list[Finding]:
    """Everything at once; what takes too long is a finding of its own."""
    folder = RunFolder(Path(document.server.run_dir))
    looks = (
        around.control(folder, document),
        around.store(document),
        around.redis(document),
        around.targets(document),
        issuers.key_sets(document),
        around.model(document, settings),
        around.notifiers(document, settings),
        searching.elasticsearch(document, settings),
    )
    names = ("control", "store", "redis", "upstreams", "key set", "model", "notify", "elasticsearch")
    beside = await asyncio.gather(
        *(_in_time(name, look) for name, look in zip(names, looks, strict=True))  # each answers with its findings
    )
    near = [*here.run_folder(folder), *here.spool(folder, document), *here.machine(document), *issuers.keys(document)]
    return [*near, *(finding for findings in beside for finding in findings)]


async def _in_time(name: str, look: around.Look) -> list[Finding]:
    try:
        async with asyncio.timeout(LONGEST_S):
            return await look
    except TimeoutError:
        return [Finding.bad(name, f"no answer within {LONGEST_S:.0f} s", "look at the network between here and there")]


def _show(finding: Finding) -> None:
    mark, colour = MARKS[finding.state]
    terminal.out.print(
        Text.assemble((mark, colour), " ", (f"{finding.name:<14}", "bold"), terminal.printable(finding.text))
    )
    if finding.remedy:
        terminal.out.print(Text.assemble((" " * 16 + "→ ", "dim"), terminal.printable(finding.remedy)))


def _verdict(wrong: int) -> Text:
    if not wrong:
        return Text("Everything the gateway needs is there.", style="green")
    return Text(f"{wrong} thing{'s are' if wrong > 1 else ' is'} wrong.", style="red")

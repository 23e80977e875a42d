"""``sentinel replay``: what a limit or detector settings would have done to recorded traffic."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.control_client import ControlClient, connect
from gateway.cli.terminal import ConfigOption, JsonOption


def replay(
    *,
    route: Annotated[str, typer.Option(help="Whose requests; goes with --limit.")] = "",
    limit: Annotated[str, typer.Option(help='As in sentinel.toml: "50/s burst 100 per subject".')] = "",
    detector: Annotated[
        list[str] | None, typer.Option(help="A key of [detect] and its value: z.p3=3. May be given again.")
    ] = None,
    since: Annotated[str, typer.Option(help="How far back: 90m, 24h, 7d.")] = "24h",
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Try a limit or detector settings on recorded traffic; nothing is changed.

    Example: sentinel replay --route orders --limit "50/s burst 100 per subject" --since 24h
    """
    if bool(detector) == bool(limit) or bool(route) != bool(limit):
        terminal.fail(
            "say what to try: --route with --limit, or --detector",
            'sentinel replay --route orders --limit "50/s per subject"',
            code=terminal.USAGE,
        )
    control = connect(config)
    if detector:
        _detector(control, _settings(detector), since, as_json=as_json)
        return
    found = control.call("POST", "/api/v1/replay", body={"route": route, "limit": limit, "since": since})
    if as_json:
        terminal.print_json(found)
    else:
        _show_limit(found)


def _settings(given: list[str]) -> dict[str, str]:
    settings = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not (equals and name and value):
            terminal.fail(f"{one!r} is not KEY=VALUE", "write such as --detector z.p3=3", code=terminal.USAGE)
        settings[name.strip().removeprefix("detect.")] = value.strip()
    return settings


def _detector(control: ControlClient, settings: dict[str, str], since: str, *, as_json: bool) -> None:
    found = control.call("POST", "/api/v1/replay/detector", body={"settings": settings, "since": since})
    if as_json:
        terminal.print_json(found)
        return
    terminal.out.print(Text(terminal.printable(f"These settings {found['headline']}."), style="bold"))
    for one in found["settings"]:
        terminal.out.print(Text(terminal.printable(f"  {one['name']}: {one['in_force']} → {one['proposed']}")))
    span = f"{terminal.time_of(found['since'])} to {terminal.time_of(found['until'])}"
    terminal.out.print(Text(f"  {span}, {found['minutes']} minutes with traffic, {found['recorded']} incidents then"))
    rows = [
        *(("both", one) for one in found["proposed"] if one not in found["only_proposed"]),
        *(("only proposed", one) for one in found["only_proposed"]),
        *(("only in force", one) for one in found["only_in_force"]),
    ]
    if rows:
        terminal.out.print()
        terminal.table(
            ("opened", "severity", "incident", "opened by"),
            [(terminal.time_of(one["opened_at"]), one["severity"], one["title"], side) for side, one in rows],
        )
    _notes(found["notes"])


def _show_limit(found: dict[str, Any]) -> None:
    terminal.out.print(Text(terminal.printable(f"{found['limit']} {found['headline']}."), style="bold"))
    coverage = found["coverage"]
    first = f", the first record at {terminal.time_of(coverage['first_at'])}" if coverage["first_at"] else ""
    terminal.out.print(
        Text(f"  {terminal.time_of(coverage['since'])} to {terminal.time_of(coverage['until'])}{first}", style="dim")
    )
    if found["already_rejected"]:
        text = f"  {found['already_rejected']} of these requests were refused then, by the limits in force"
        terminal.out.print(Text(text, style="dim"))
    if found["top"]:
        terminal.out.print()
        window = {1: "s", 60: "min", 3600: "h", 86400: "day"}.get(found["window_s"], "window")
        terminal.table(
            ("caller", "requests", "rejected", f"peak/{window}", "first rejected", "last rejected"),
            [_caller(one) for one in found["top"]],
            right=("requests", "rejected", f"peak/{window}"),
        )
    if found["bursts"]:
        terminal.out.print()
        terminal.table(
            ("burst", "rejected", "callers"),
            [(one["burst"], one["rejected"], one["callers"]) for one in found["bursts"]],
            right=("burst", "rejected", "callers"),
        )
    if found["burst_for_all"]:
        terminal.out.print(Text(f"With burst {found['burst_for_all']} nobody would have been rejected."))
    _notes(coverage["notes"])
    terminal.out.print()
    terminal.out.print(Text(terminal.printable(f"First count only, in the route {found['route']} of sentinel.toml:")))
    terminal.out.print(Text(f"    {found['shadow']}", style="bold"))
    terminal.out.print(Text("then refuse:"))
    terminal.out.print(Text(f"    {found['enforce']}", style="bold"))


def _caller(one: dict[str, Any]) -> tuple[object, ...]:
    times = terminal.time_of(one["first_rejected_at"]), terminal.time_of(one["last_rejected_at"])
    return (one["caller"], one["requests"], one["rejected"], one["peak"], *times)


def _notes(notes: list[str]) -> None:
    terminal.out.print()
    for note in notes:
        terminal.out.print(Text(terminal.printable(f"- {note}"), style="dim"))

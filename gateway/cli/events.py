"""``sentinel events``: what a program reported of itself."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from gateway.cli import terminal
from gateway.cli.control_client import connect
from gateway.cli.terminal import ConfigOption, JsonOption

_PAGE = 500


def events(
    agent: Annotated[str, typer.Argument(help="Whose events; left out: who reported something within a day.")] = "",
    *,
    kind: Annotated[str, typer.Option(help="Only this kind; with a dot at the end, all that begin so.")] = "",
    severity: Annotated[str, typer.Option(help="This grave or graver: debug, info, warning, error, critical.")] = "",
    trace: Annotated[str, typer.Option(help="Only those of this trace, 32 hex digits.")] = "",
    most: Annotated[int, typer.Option(min=1, max=_PAGE, help="How many, the newest first.")] = 50,
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Events that a program reported, newest first. Example: sentinel events billing-3 --severity error"""
    if not agent:
        _agents(config, as_json=as_json)
        return
    query: dict[str, str | int] = {"kind": kind, "severity": severity, "trace_id": trace, "limit": most}
    page = connect(config).call("GET", f"/v1/agents/{quote(agent, safe='')}/events", query=query)
    if as_json:
        terminal.print_json(page)
    elif not page["items"]:
        terminal.out.print("No such events. docs/how-to/events.md shows how a program reports them.")
    else:
        rows = [
            (terminal.time_of(one["at"]), one["severity"], one["kind"], one["message"], _facts(one["fields"]))
            for one in page["items"]
        ]
        terminal.table(("at (UTC)", "severity", "kind", "message", "fields"), rows)


def _agents(config: str, *, as_json: bool) -> None:
    page = connect(config).call("GET", "/v1/agents")
    if as_json:
        terminal.print_json(page)
    elif not page["items"]:
        terminal.out.print("Nobody reported anything within a day. docs/how-to/events.md shows how a program does.")
    else:
        rows = [(one["agent_id"], one["events"], terminal.time_of(one["last_at"])) for one in page["items"]]
        terminal.table(("agent", "events", "last (UTC)"), rows, right=("events",))


def _facts(fields: dict[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in fields.items())

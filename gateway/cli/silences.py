"""``sentinel silence …``: what people are not told of for a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from gateway.cli import terminal
from gateway.cli.control_client import connect
from gateway.cli.terminal import ConfigOption, JsonOption
from gateway.config.notation import NotationError, duration

app = typer.Typer(
    no_args_is_help=True,
    help="Tell nobody for a while. Example: sentinel silence add --upstream payments --for 2h --why migration",
)


@app.command("list")
def list_silences(config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Silences in force, to come, and those that ended within a month."""
    page = connect(config).call("GET", "/api/v1/silences", query={"limit": 500})
    if as_json:
        terminal.print_json(page)
    elif not page["items"]:
        terminal.out.print("Nothing is silenced.")
    else:
        rows = [
            (one["id"], one["state"], _matches(one), terminal.time_of(one["ends_at"]), one["who"], one["why"])
            for one in page["items"]
        ]
        terminal.table(("id", "state", "matches", "until (UTC)", "who", "why"), rows)


@app.command("add")
def add_silence(
    *,
    lasting: Annotated[str, typer.Option("--for", help="How long from now, such as 2h; at most 31d.")],
    why: Annotated[str, typer.Option(help="The reason; kept with it and in the audit trail.")],
    route: Annotated[str, typer.Option(help="Incidents of this route.")] = "",
    upstream: Annotated[str, typer.Option(help="Incidents of this upstream, its targets and its routes.")] = "",
    target: Annotated[str, typer.Option(help="Incidents of this target, host:port.")] = "",
    tenant: Annotated[str, typer.Option(help="Incidents of this tenant.")] = "",
    severity: Annotated[list[str] | None, typer.Option(help="P1 to P4; may be given several times.")] = None,
    signal: Annotated[list[str] | None, typer.Option(help="Such as latency; may be given several times.")] = None,
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Tell nobody of matching incidents for a while; they are found and acted on all the same."""
    try:
        ends_at = datetime.now(UTC) + timedelta(seconds=duration(lasting))
    except NotationError as error:
        terminal.fail(f"--for: {error}", error.remedy, code=terminal.USAGE)
    body = {
        "route": route,
        "upstream": upstream,
        "target": target,
        "tenant": tenant,
        "severities": severity or [],
        "signals": signal or [],
        "ends_at": ends_at.isoformat(),
        "why": why,
    }
    made = connect(config).call("POST", "/api/v1/silences", body=body)
    if as_json:
        terminal.print_json(made)
    else:
        terminal.good(f"silence {made['id']} holds until {terminal.time_of(made['ends_at'])} UTC: {_matches(made)}")


@app.command("end")
def end_silence(
    silence: Annotated[str, typer.Argument(help="Id, as `sentinel silence list` prints it.")],
    config: ConfigOption = "sentinel.toml",
) -> None:
    """End a silence at once. Example: sentinel silence end si-1f2e3d4c"""
    connect(config).call("DELETE", f"/api/v1/silences/{silence}")
    terminal.good(f"silence {silence} has ended; people are told of what goes on")


def _matches(one: dict[str, Any]) -> str:
    named = [f"{name} {one[name]}" for name in ("route", "upstream", "target", "tenant") if one[name]]
    return ", ".join([*named, *(" ".join(one[name]) for name in ("severities", "signals") if one[name])])

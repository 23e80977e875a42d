"""``sentinel stop-actions …``: the switch that stops all actions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli import terminal
from gateway.cli.control_client import connect
from gateway.cli.terminal import ConfigOption, JsonOption

app = typer.Typer(
    no_args_is_help=True,
    help='Stop all actions on every node. Example: sentinel stop-actions on --why "moving the database"',
)


@app.command("on")
def stop(
    *,
    why: Annotated[str, typer.Option(help="The reason; shown to whoever wants to approve something.")] = "",
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Execute and approve nothing from now on; what runs already stays, and can be taken back."""
    _told(connect(config).call("POST", "/api/v1/stop", body={"why": why}), as_json=as_json)


@app.command("off")
def release(config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Let actions run again; what was proposed meanwhile waits for a person."""
    _told(connect(config).call("DELETE", "/api/v1/stop"), as_json=as_json)


@app.command("show")
def show(config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Whether actions are stopped, by whom and why."""
    _told(connect(config).call("GET", "/api/v1/stop"), as_json=as_json)


def _told(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(answer)
        return
    by = f" by {answer['by']}, {terminal.time_of(answer['at'])} UTC" if answer["at"] else ""
    why = f": {answer['why']}" if answer["why"] else ""
    if answer["stopped"]:
        terminal.good(f"actions are stopped{by}{why}")
    else:
        terminal.good(f"actions may run{by and f'; let run again{by}'}")

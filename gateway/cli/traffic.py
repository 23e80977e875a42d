"""``sentinel tail`` and ``sentinel openapi``: what control sees, and what it can be asked."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.control_client import connect
from gateway.cli.terminal import ConfigOption, JsonOption

SERVER_ERROR = 500
CLIENT_ERROR = 400


def tail(
    *,
    route: Annotated[str, typer.Option(help="Only this route.")] = "",
    status: Annotated[int, typer.Option(help="Exact status, or 1..5 for a class.")] = 0,
    tenant: Annotated[str, typer.Option(help="Only this tenant.")] = "",
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Live requests as control reads them. Example: sentinel tail --route orders --status 5"""
    query: dict[str, str | int] = {"route": route, "status": status, "tenant": tenant}
    with connect(config).lines("/api/v1/requests/live", query) as lines:
        try:
            for line in lines:
                if line.startswith("data: "):
                    _show(line.removeprefix("data: "), as_json=as_json)
        except KeyboardInterrupt:
            raise typer.Exit from None


def _show(line: str, *, as_json: bool) -> None:
    if as_json:
        terminal.print_json_text(line)
        return
    record = json.loads(line)
    status = record["status"]
    style = "red" if status >= SERVER_ERROR else "yellow" if status >= CLIENT_ERROR else "green"
    terminal.out.print(
        Text.assemble(
            (f"{record['completed_at'][11:19]} ", "dim"),
            (f"{status} ", style),
            f"{record['duration_us'] / 1000:8.1f} ms  ",
            terminal.printable(f"{record['method']} {record['path']}"),
            (terminal.printable(f"  {record['route']} → {record['target'] or '-'}  {record['tenant']}"), "dim"),
            (terminal.printable(f"  {record['error']}") if record["error"] else "", "red"),
        )
    )


def openapi(config: ConfigOption = "sentinel.toml") -> None:
    """Print the OpenAPI document of the HTTP interface."""
    del config  # the document is the same for every configuration
    from gateway.admin.openapi import document

    terminal.print_json(document())

"""``sentinel deploys …``: what was put into service, so that diagnosis can name it where errors begin just after."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import terminal
from gateway.cli.control_client import connect
from gateway.cli.terminal import ConfigOption, JsonOption

app = typer.Typer(
    no_args_is_help=True,
    help="Tell what was put into service. Example: sentinel deploys add payments v2.3 --url https://ci.example/42",
)


@app.command("list")
def list_deploys(
    service: Annotated[str, typer.Option(help="Of this service alone.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Deploys, newest first."""
    page = connect(config).call("GET", "/api/v1/deploys", query={"service": service, "limit": limit})
    if as_json:
        terminal.print_json(page)
    elif not page["items"]:
        terminal.out.print("No deploy was told of.")
    else:
        rows = [
            (one["id"], terminal.time_of(one["at"]), one["service"], one["version"], one["actor"], one["url"])
            for one in page["items"]
        ]
        terminal.table(("id", "at (UTC)", "service", "version", "by", "more"), rows)


@app.command("add")
def add_deploy(
    *,
    service: Annotated[str, typer.Argument(help="Best the name of an upstream or a route.")],
    version: Annotated[str, typer.Argument(help="What was put into service, such as v2.3 or a commit.")],
    at: Annotated[str, typer.Option(help="When, as RFC 3339 with a time zone; by default now.")] = "",
    url: Annotated[str, typer.Option(help="Where there is more to read, such as the pipeline's run.")] = "",
    actor: Annotated[str, typer.Option(help="Who did it; by default whoever types.")] = "",
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Tell of a deploy; telling the same again changes nothing."""
    body = {"service": service, "version": version, "url": url, "actor": actor} | ({"at": at} if at else {})
    told = connect(config).call("POST", "/api/v1/deploys", body=body)
    if as_json:
        terminal.print_json(told)
    else:
        terminal.good(f"deploy {told['id']}: {version} of {service} at {terminal.time_of(told['at'])}")


@app.command("remove")
def remove_deploy(
    deploy: Annotated[str, typer.Argument(help="Id, as `sentinel deploys list` prints it.")],
    config: ConfigOption = "sentinel.toml",
) -> None:
    """Forget a deploy that was told by mistake. Example: sentinel deploys remove de-1f2e3d4c5b6a"""
    connect(config).call("DELETE", f"/api/v1/deploys/{deploy}")
    terminal.good(f"deploy {deploy} is forgotten")

"""``sentinel routes …``: which route takes a request, and what would become of it. Needs no running gateway."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import terminal
from gateway.cli.terminal import ConfigOption, JsonOption
from gateway.config import checking
from gateway.domain.identity import Principal

if TYPE_CHECKING:
    from gateway.cli.route_trial import Trial
    from gateway.domain.routing import Route
    from gateway.domain.snapshot import Snapshot

app = typer.Typer(no_args_is_help=True, help="Routes as they work. Example: sentinel routes test GET /orders/7")

_UNSET = re.compile(r"export (\w+)=…")  # the remedy of a secret that is missing
_PLACEHOLDER = "not looked at, and long enough for any rule about length" * 2
_MARKS = {"pass": "✓", "answer": "✓", "stop": "✗", "info": " "}


@app.command("list")
def list_routes(*, config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Every route, in the order of the file."""
    snapshot = _checked(config)
    rows = [
        {"conditions": _conditions(route), **row._asdict()}
        for route, row in zip(snapshot.routes, checking.effective_routes(snapshot), strict=True)
    ]
    if as_json:
        terminal.print_json({"items": rows})
        return
    columns = ("name", "methods", "host", "path", "conditions", "auth", "limits", "upstream")
    terminal.table(("route", *columns[1:]), [[row[column] for column in columns] for row in rows])


@app.command("test")
def try_route(
    method: Annotated[str, typer.Argument(help="GET, POST, …")],
    url: Annotated[str, typer.Argument(help="A path, or a URL whose host is then the request's.")],
    *,
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="'Name: value'; repeatable.")] = None,
    client: Annotated[str, typer.Option(help="The address the request comes from.")] = "127.0.0.1",
    subject: Annotated[str, typer.Option(help="Who calls, taken on trust; without it nobody is signed in.")] = "",
    tenant: Annotated[str, typer.Option(help="The caller's tenant.")] = "",
    scopes: Annotated[str, typer.Option(help="The caller's scopes, separated by blanks.")] = "",
    roles: Annotated[str, typer.Option(help="The caller's roles, separated by blanks.")] = "",
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """What would become of a request, step by step. Exit 0 when it is forwarded or redirected, 1 when refused."""
    from gateway.cli import route_trial

    snapshot = _checked(config)
    caller = None
    if subject or tenant or scopes or roles:
        caller = Principal(
            kind="jwt", subject=subject, tenant=tenant, scopes=frozenset(scopes.split()), roles=frozenset(roles.split())
        )
    asked = route_trial.Asked(method, url, tuple(map(_field, header or ())), client, caller)
    try:
        trial = route_trial.attempt(snapshot, asked)
    except UnicodeEncodeError:
        terminal.fail("the request holds characters that no HTTP message can carry", code=terminal.USAGE)
    refused = any(step.verdict == "stop" for step in trial.steps)
    if as_json:
        terminal.print_json(trial.as_json())
    else:
        _show(trial)
    raise typer.Exit(terminal.FAILED if refused else terminal.OK)


def _checked(config: str) -> Snapshot:
    environ = dict(os.environ)
    result = checking.check(Path(config), environ)
    # No secret is looked at here, so those that are not set where this runs may be anything.
    missing = [_UNSET.fullmatch(finding.remedy) for finding in result.errors]
    if missing and all(missing):
        environ |= {found[1]: _PLACEHOLDER for found in missing if found is not None}
        result = checking.check(Path(config), environ)
    for finding in result.errors:
        terminal.bad(str(finding))
    if result.snapshot is None:
        terminal.fail(f"{config} has errors", f"sentinel check --config {config}")
    return result.snapshot


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        terminal.fail(f"{text!r} is no header field", "write it as 'Name: value'", code=terminal.USAGE)
    return name.strip(), value.strip()


def _conditions(route: Route) -> str:
    asked = [f"{one.name}: {one.value}" for one in route.headers] + [f"?{one.name}={one.value}" for one in route.query]
    return ", ".join(asked) or "none"


def _show(trial: Trial) -> None:
    terminal.table(("", "step", ""), [(_MARKS[step.verdict], step.step, step.detail) for step in trial.steps])
    for title, lines in (("the upstream gets", trial.head), ("the client gets", trial.fields)):
        if lines:
            terminal.out.print(f"\n{title}")
            for line in lines:
                terminal.out.print(f"  {terminal.printable(line)}", markup=False)
    if trial.near:
        terminal.out.print("\nnot taken")
        for name, why in trial.near:
            terminal.out.print(f"  {terminal.printable(name)}: {terminal.printable(why)}", markup=False)

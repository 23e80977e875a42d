"""``sentinel init|check|migrate|doctor``: before anything runs, and when something does not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import terminal
from gateway.cli.serving import load, refuse
from gateway.cli.terminal import ConfigOption, JsonOption
from gateway.config import checking, starter
from gateway.errors import ConfigError, SentinelError

if TYPE_CHECKING:
    from gateway.store.migrate import SchemaStatus

migrations = typer.Typer(no_args_is_help=True, help="The store's schema. Example: sentinel migrate up")


def init(
    to: Annotated[Path, typer.Argument(help="File to write; - for standard output.")] = Path("sentinel.toml"),
    *,
    force: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented sentinel.toml to begin with. Example: sentinel init"""
    text = starter.init_text()
    if str(to) == "-":
        print(text, end="")  # noqa: T201 - the result
        return
    if to.exists() and not force:
        terminal.fail(f"{to} is there already", "sentinel init --force replaces it")
    to.write_text(text)
    terminal.good(f"wrote {to}; now: sentinel check --config {to} && sentinel serve --config {to}")


def check(*, config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Judge the configuration: every error with file:line:column. Exit 0 good, 1 bad. Example: sentinel check"""
    result = checking.check(Path(config), dict(os.environ))
    if as_json:
        routes = [row._asdict() for row in checking.effective_routes(result.snapshot)] if result.snapshot else []
        terminal.print_json(
            {
                "ok": not result.errors,
                "errors": [str(finding) for finding in result.errors],
                "warnings": [str(finding) for finding in result.warnings],
                "routes": routes,
            }
        )
        raise typer.Exit(terminal.FAILED if result.errors else terminal.OK)
    for finding in result.errors:
        terminal.bad(str(finding))
    for finding in result.warnings:
        terminal.err.print(f"! {terminal.printable(str(finding))}", markup=False)
    if result.snapshot is None:
        count = len(result.errors)
        terminal.fail(f"{count} error{'s' if count != 1 else ''}; nothing was started")
    rows = checking.effective_routes(result.snapshot)
    terminal.table(("route", "methods", "host", "path", "auth", "limits", "upstream", "targets"), rows)
    terminal.good(f"{config} is good")


@migrations.command()
def up(*, config: ConfigOption = "sentinel.toml", revision: Annotated[str, typer.Option()] = "head") -> None:
    """Bring the schema up, creating the database file where it is SQLite."""
    from gateway.store import migrate

    status = _migrate(config, lambda url: migrate.upgrade(url, revision))
    terminal.good(f"the schema is at {status.current or 'nothing'}")


@migrations.command()
def down(
    revision: Annotated[str, typer.Argument(help="Revision to go back to; `base` removes everything.")],
    *,
    config: ConfigOption = "sentinel.toml",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take the schema back. Data of what is removed is lost."""
    from gateway.store import migrate

    if not yes:
        typer.confirm(f"Take the schema back to {revision}? What is removed is lost.", abort=True)
    status = _migrate(config, lambda url: migrate.downgrade(url, revision))
    terminal.good(f"the schema is at {status.current or 'nothing'}")


@migrations.command("status")
def migration_status(*, config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Where the schema is, and where it should be. Exit 0 when they are the same, else 1."""
    from gateway.store import migrate

    status = _migrate(config, migrate.status)
    if as_json:
        terminal.print_json({"current": status.current, "head": status.head, "is_current": status.is_current})
    elif status.is_current:
        terminal.good(f"the schema is at {status.current}, the newest")
    else:
        terminal.bad(f"the schema is at {status.current or 'nothing'}, not at {status.head}", "sentinel migrate up")
    raise typer.Exit(terminal.OK if status.is_current else terminal.FAILED)


def _migrate(config: str, step: Callable[[str], Coroutine[None, None, SchemaStatus]]) -> SchemaStatus:
    try:
        configuration, _ = load(config, dict(os.environ))
        return asyncio.run(step(str(configuration.document.store.url)))
    except ConfigError as error:
        refuse(error)
    except SentinelError as error:
        terminal.fail(str(error), error.remedy)

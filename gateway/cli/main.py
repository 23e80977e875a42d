"""The ``sentinel`` command: every subcommand, listed once.

Exit codes: 0 done; 1 tried and failed, or the configuration is bad; 2 the command line is wrong; 3 no control process
answers; 130 interrupted.
"""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from gateway import __version__
from gateway.build import is_compiled
from gateway.cli import (
    configuration,
    dead_letters,
    deploys,
    doctor,
    events,
    gameday,
    incidents,
    key_import,
    loadtest,
    notifying,
    objectives,
    people,
    replaying,
    restarting,
    routes,
    serving,
    setup,
    silences,
    simulate,
    stopping,
    terminal,
    traffic,
)
from gateway.errors import SentinelError
from gateway.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="An API gateway that investigates its own incidents. Begin with: sentinel demo",
)


@app.callback(invoke_without_command=True)
def _root(*, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        print(f"sentinel {__version__}{', compiled' if is_compiled() else ''}")  # noqa: T201 - the result
        raise typer.Exit


@app.command()
def demo(
    *,
    fault: Annotated[str, typer.Option(help="pool, slow, error, or random.")] = "pool",
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the dashboard.")] = False,
    exit_when_closed: Annotated[
        bool, typer.Option("--exit-when-closed", help="End after the story, even on a terminal.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Draw the same fault and target again.")] = None,
    as_json: terminal.JsonOption = False,
) -> None:
    """Services, load and a fault: see an incident found, explained, mended, verified and closed."""
    from gateway.demo import run

    if fault not in {*run.FAULTS, "random"}:
        terminal.fail(f"there is no fault {fault!r}", f"one of {', '.join(run.FAULTS)}, random", code=terminal.USAGE)
    raise typer.Exit(
        asyncio.run(
            run.run(fault=fault, browser=not no_browser, exit_when_closed=exit_when_closed, as_json=as_json, seed=seed)
        )
    )


app.command()(serving.serve)
app.command()(serving.control)
app.command()(restarting.restart)
app.command()(setup.init)
app.command()(setup.check)
app.command()(doctor.doctor)
app.add_typer(setup.migrations, name="migrate")
app.add_typer(people.users, name="user")
people.keys.command("import")(key_import.import_keys)
app.add_typer(people.keys, name="key")
app.add_typer(people.tokens, name="token")
app.command()(traffic.tail)
app.command()(events.events)
app.add_typer(incidents.app, name="incidents")
app.add_typer(configuration.app, name="config")
app.add_typer(routes.app, name="routes")
app.add_typer(notifying.app, name="notify")
app.command()(objectives.slo)
app.command()(replaying.replay)
app.add_typer(silences.app, name="silence")
app.add_typer(deploys.app, name="deploys")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(stopping.app, name="stop-actions")
app.command()(traffic.openapi)
app.command()(loadtest.loadtest)
app.add_typer(simulate.app, name="simulate")
app.command()(gameday.gameday)


def main() -> None:
    """Entry point of the ``sentinel`` script: no stack trace reaches a user unless SENTINEL_DEBUG asks for it."""
    debug = Settings.from_environ(os.environ).debug
    try:
        app()
    except SentinelError as error:
        if debug:
            raise
        terminal.bad(str(error), error.remedy)
        raise SystemExit(terminal.FAILED) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None

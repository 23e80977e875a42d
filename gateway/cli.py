"""The ``sentinel`` command."""

from __future__ import annotations

import typer

from gateway import __version__

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    """An API gateway that investigates its own incidents."""
    if version:
        print(f"sentinel {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of the ``sentinel`` script."""
    app()

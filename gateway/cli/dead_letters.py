"""``sentinel dead-letters …``: bodies from outside that could not be read."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import terminal
from gateway.cli.control_client import connect
from gateway.cli.terminal import ConfigOption, JsonOption

app = typer.Typer(
    no_args_is_help=True,
    help="Bodies of alerts that could not be read. Example: sentinel dead-letters list",
)


@app.command("list")
def list_dead_letters(
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Dead letters, newest first: where each was sent to, and what was wrong with it."""
    page = connect(config).call("GET", "/api/v1/dead-letters", query={"limit": limit})
    if as_json:
        terminal.print_json(page)
    elif not page["items"]:
        terminal.out.print("Every body could be read.")
    else:
        rows = [
            (one["id"], terminal.time_of(one["at"]), one["source"], one["field"], one["reason"], one["size_bytes"])
            for one in page["items"]
        ]
        terminal.table(("id", "at (UTC)", "sent to", "field", "what is wrong", "bytes"), rows, right=("bytes",))


@app.command("show")
def show_dead_letter(
    letter: Annotated[str, typer.Argument(help="Id, as `sentinel dead-letters list` prints it.")],
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """One dead letter with its body. Example: sentinel dead-letters show dl-1f2e3d4c"""
    found = connect(config).call("GET", f"/api/v1/dead-letters/{letter}")
    if as_json:
        terminal.print_json(found)
        return
    terminal.show_fields(
        {
            "sent to": f"/api/v1/alerts/{found['source']}",
            "at": terminal.time_of(found["at"]),
            "field": found["field"] or "the whole body",
            "wrong": found["reason"],
            "bytes": found["size_bytes"],
        }
    )
    terminal.out.print(terminal.printable_lines(found["body"]), markup=False)


@app.command("purge")
def purge_dead_letters(
    letter: Annotated[str, typer.Argument(help="One of them; by default all.")] = "",
    config: ConfigOption = "sentinel.toml",
) -> None:
    """Let go of dead letters. Example: sentinel dead-letters purge"""
    if letter:
        connect(config).call("DELETE", f"/api/v1/dead-letters/{letter}")
        terminal.good(f"dead letter {letter} is gone")
        return
    gone = connect(config).call("DELETE", "/api/v1/dead-letters")["purged"]
    terminal.good(f"{gone} dead letter{'' if gone == 1 else 's'} gone")

"""``sentinel config …``: what is in force, what would change, and back."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.control_client import ControlClient, connect
from gateway.cli.terminal import ConfigOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="The configuration in force. Example: sentinel config diff")
FileArgument = Annotated[Path, typer.Argument(help="The file to compare or apply.")]
DEFAULT_FILE = Path("sentinel.toml")
STYLES = {"+": "green", "-": "red", "@": "cyan"}


@app.command()
def show(*, config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """The text that workers run on."""
    found = connect(config).call("GET", "/api/v1/config")
    if as_json:
        terminal.print_json(found)
    else:
        print(found["text"], end="")  # noqa: T201 - the result


@app.command()
def diff(file: FileArgument = DEFAULT_FILE, *, config: ConfigOption = "sentinel.toml") -> None:
    """What applying FILE would change. Exit 0 nothing, 1 something."""
    client = connect(config)
    text = _checked(client, file)
    lines = _difference(client, text, str(file))
    for line in lines:
        terminal.out.print(Text(terminal.printable(line), style=STYLES.get(line[:1], "")))
    if not lines:
        terminal.good(f"{file} is what is in force")
    raise typer.Exit(1 if lines else 0)


@app.command("apply")
def apply_file(
    file: FileArgument = DEFAULT_FILE,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show the difference, change nothing.")] = False,
    note: Annotated[str, typer.Option(help="Why; kept with the revision.")] = "",
    config: ConfigOption = "sentinel.toml",
) -> None:
    """Put FILE in force on every worker within a second; a bad one changes nothing."""
    client = connect(config)
    text = _checked(client, file)
    if dry_run:
        for line in _difference(client, text, str(file)):
            terminal.out.print(Text(terminal.printable(line), style=STYLES.get(line[:1], "")))
        terminal.good(f"{file} is good; nothing was changed (--dry-run)")
        return
    made = client.call("POST", "/api/v1/config/apply", body={"text": text, "note": note})
    terminal.good(f"revision {made['revision']} is in force")


@app.command()
def history(
    *,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Configurations that were in force, newest first."""
    found = connect(config).call("GET", "/api/v1/config/history", query={"limit": limit})
    if as_json:
        terminal.print_json(found)
    else:
        rows = [(one["revision"], terminal.time_of(one["at"]), one["actor"], one["note"]) for one in found["items"]]
        terminal.table(("revision", "at (UTC)", "by", "note"), rows, right=("revision",))


@app.command()
def rollback(
    revision: Annotated[int, typer.Argument(help="As `sentinel config history` prints it.")],
    *,
    config: ConfigOption = "sentinel.toml",
) -> None:
    """Put an earlier configuration in force again, as a new revision."""
    client = connect(config)
    found = client.call("GET", "/api/v1/config/history", query={"limit": 500})
    text = next((one["text"] for one in found["items"] if one["revision"] == revision), None)
    if text is None:
        terminal.fail(
            f"there is no revision {revision} among the last {len(found['items'])}", "sentinel config history"
        )
    made = client.call("POST", "/api/v1/config/apply", body={"text": text, "note": f"roll back to {revision}"})
    terminal.good(f"revision {made['revision']} is in force: the text of revision {revision}")


def _checked(client: ControlClient, file: Path) -> str:
    try:
        text = file.read_text()
    except OSError as error:
        terminal.fail(f"{file} cannot be read: {error.strerror}")
    verdict = client.call("POST", "/api/v1/config/check", body={"text": text})
    for problem in verdict["problems"]:
        terminal.bad(problem)
    if not verdict["good"]:
        terminal.fail(f"{file} has errors; nothing was changed")
    return text


def _difference(client: ControlClient, text: str, name: str) -> list[str]:
    in_force = client.call("GET", "/api/v1/config")["text"]
    return list(difflib.unified_diff(in_force.splitlines(), text.splitlines(), "in force", name, lineterm="", n=2))

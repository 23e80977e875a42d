"""``sentinel config …``: what is in force, what would change, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.control_client import connect
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
def diff(
    file: FileArgument = DEFAULT_FILE, *, config: ConfigOption = "sentinel.toml", as_json: JsonOption = False
) -> None:
    """What applying FILE would change. Exit 0 nothing, 1 something."""
    found = connect(config).call("POST", "/api/v1/config/diff", body={"text": _text(file)})
    if as_json:
        terminal.print_json(found)
    else:
        _tell(found, file)
    if not found["good"]:
        terminal.fail(f"{file} has errors; nothing was changed")
    if not found["unified"] and not as_json:
        terminal.good(f"{file} is what is in force")
    raise typer.Exit(1 if found["unified"] else 0)


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
    text = _text(file)
    found = client.call("POST", "/api/v1/config/diff", body={"text": text})
    _tell(found, file)
    if not found["good"]:
        terminal.fail(f"{file} has errors; nothing was changed")
    if dry_run:
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
    revision: Annotated[int, typer.Argument(min=1, help="As `sentinel config history` prints it.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference, change nothing.")] = False,
    note: Annotated[str, typer.Option(help="Why; kept with the new revision.")] = "",
    config: ConfigOption = "sentinel.toml",
) -> None:
    """Put an earlier configuration in force again, as a new revision."""
    client = connect(config)
    found = client.call("GET", "/api/v1/config/diff", query={"revision": revision})
    _tell(found, f"revision {revision}")
    if not found["good"]:
        terminal.fail(f"revision {revision} cannot be used any more; nothing was changed")
    if dry_run:
        terminal.good(f"revision {revision} is good; nothing was changed (--dry-run)")
        return
    made = client.call("POST", "/api/v1/config/rollback", body={"revision": revision, "note": note})
    terminal.good(f"revision {made['revision']} is in force: the text of revision {revision}")


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        terminal.fail(f"{file} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        terminal.fail(f"{file} is not UTF-8", "save the file as UTF-8")


def _tell(found: dict[str, Any], name: object) -> None:
    """The verdict on a text: its problems, or what it changes line by line and in words."""
    for problem in found["problems"]:
        terminal.bad(problem)
    for line in found["unified"].splitlines():
        terminal.out.print(Text(terminal.printable(line), style=STYLES.get(line[:1], "")))
    for change in found["changes"]:
        terminal.out.print(Text(f"  {terminal.printable(change)}"))
    for warning in found["warnings"]:
        terminal.out.print(Text(f"  warning: {terminal.printable(warning)}", style="yellow"))
    if found["restart"]:
        keys = ", ".join(found["restart"])
        terminal.out.print(Text(f"  {name} changes {keys}: restart the gateway for that", style="yellow"))

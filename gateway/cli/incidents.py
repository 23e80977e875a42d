"""``sentinel incidents …``: list, read, decide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.control_client import connect
from gateway.cli.terminal import ConfigOption, JsonOption

app = typer.Typer(no_args_is_help=True, help="Incidents: list, read, decide. Example: sentinel incidents show in-7k2m")
ActionArgument = Annotated[str, typer.Argument(help="Id of the action, as `sentinel incidents show` prints it.")]
IncidentArgument = Annotated[str, typer.Argument(help="Id of the incident.")]


@app.command("list")
def list_incidents(
    *,
    state: Annotated[str, typer.Option(help="open, OPEN, ANALYZING, MITIGATING or CLOSED; all when left out.")] = "",
    severity: Annotated[str, typer.Option(help="P1, P2, P3 or P4.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Incidents, newest first."""
    query: dict[str, str | int] = {"state": state, "severity": severity, "limit": limit}
    page = connect(config).call("GET", "/api/v1/incidents", query=query)
    if as_json:
        terminal.print_json(page)
    elif not page["items"]:
        terminal.out.print("No incidents." if not state else f"No incidents that are {state}.")
    else:
        rows = [
            (one["id"], one["severity"], one["state"], terminal.time_of(one["opened_at"]), one["title"])
            for one in page["items"]
        ]
        terminal.table(("id", "severity", "state", "opened (UTC)", "title"), rows)


@app.command()
def show(incident: IncidentArgument, config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """One incident: what, where, why, what was done and whether it helped."""
    found = connect(config).call("GET", f"/api/v1/incidents/{incident}")
    if as_json:
        terminal.print_json(found)
        return
    terminal.out.print(Text(f"{found['severity']} {terminal.printable(found['title'])}", style="bold"))
    terminal.show_fields(
        {
            "id": found["id"],
            "state": found["state"],
            "began": terminal.time_of(found["onset"]),
            "closed": terminal.time_of(found["closed_at"]),
            "acknowledged": terminal.printable(found["acknowledged_by"]) or "by nobody yet",
        }
    )
    _show_report(found.get("diagnosis"))
    for action in found["actions"]:
        _show_action(action)
    terminal.out.print(Text("\nTime line", style="bold"))
    for entry in found["timeline"]:
        terminal.out.print(Text(f"  {terminal.time_of(entry['at'])}  {terminal.printable(entry['text'])}"))


def _show_report(diagnosis: dict[str, Any] | None) -> None:
    if not diagnosis:
        return
    report = diagnosis["report"]
    terminal.out.print(Text(f"\nReport (by {report['source']}, confidence {report['confidence']})", style="bold"))
    if report["source"] != "rules":
        cost = f"{report['tokens_in'] + report['tokens_out']} tokens, ${report['cost_usd']}"
        terminal.out.print(Text(f"  {terminal.printable(report['model'])}: {cost}, {report['duration_s']} s"))
        terminal.out.print(Text(f"  Second pass: {terminal.printable(report['refutation'])}"))
    if report["fallback_reason"]:
        terminal.out.print(Text(f"  The model's report was not used: {terminal.printable(report['fallback_reason'])}"))
    terminal.out.print(Text(f"  {terminal.printable(report['root_cause'] or 'Inconclusive: ' + report['summary'])}"))
    for claim in report["claims"]:
        cited = ", ".join(claim["evidence"])
        terminal.out.print(Text(f"  • {terminal.printable(claim['text'])} [{cited}]"))


def _show_action(action: dict[str, Any]) -> None:
    heading = f"\nAction {action['id']}: {action['kind']} {action['target']} — {action['state']} ({action['risk']})"
    terminal.out.print(Text(terminal.printable(heading.strip("\n")), style="bold"))
    terminal.out.print(Text(f"  {terminal.printable(action['effect'])}"))
    terminal.out.print(Text(f"  Taken back by: {terminal.printable(action['undo'])}"))
    if action["outcome"]:
        terminal.out.print(Text(f"  Outcome: {terminal.printable(action['outcome']['statement'])}"))
    if action["state"] == "PENDING":
        terminal.out.print(Text(f"  → sentinel incidents approve {action['id']}"))


@app.command()
def approve(action: ActionArgument, config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Run a pending action, exactly as it is shown."""
    _decide(connect(config).call("POST", f"/api/v1/actions/{action}/approve", body={}), as_json=as_json)


@app.command("take-back")
def take_back(
    action: Annotated[str, typer.Argument(help="Id of an action that is in force.")],
    reason: Annotated[str, typer.Option(help="Shown on the time line.")] = "",
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Take an action that is in force back at once. Example: sentinel incidents take-back a-5b6c7d8e9f01"""
    answer = connect(config).call("POST", f"/api/v1/actions/{action}/take-back", body={"reason": reason})
    if as_json:
        terminal.print_json(answer)
    else:
        terminal.good(f"action {action}: it is {answer['state']}")


@app.command()
def reject(
    action: ActionArgument,
    reason: Annotated[str, typer.Option(help="Why; kept with the action.")] = "",
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Decline a pending action."""
    answer = connect(config).call("POST", f"/api/v1/actions/{action}/reject", body={"reason": reason})
    _decide(answer, as_json=as_json)


def _decide(action: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(action)
    else:
        terminal.good(f"action {action['id']} is {action['state']}")


@app.command()
def ack(incident: IncidentArgument, config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Say that you take care of an incident: reminders end, and nobody else is called."""
    answer = connect(config).call("POST", f"/api/v1/incidents/{incident}/acknowledge", body={})
    if as_json:
        terminal.print_json(answer)
    else:
        terminal.good(f"incident {incident} is yours")


@app.command()
def close(
    incident: IncidentArgument,
    reason: Annotated[str, typer.Option(help="Why it is over.")] = "closed by hand",
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Close an incident by hand; pending actions lapse, running ones are taken back."""
    answer = connect(config).call("POST", f"/api/v1/incidents/{incident}/close", body={"reason": reason})
    if as_json:
        terminal.print_json(answer)
    else:
        terminal.good(f"incident {incident} is closed")


@app.command()
def export(
    incident: IncidentArgument,
    to: Annotated[Path | None, typer.Option("--to", help="File to write; standard output when left out.")] = None,
    config: ConfigOption = "sentinel.toml",
) -> None:
    """The incident as Markdown, for a postmortem."""
    text = connect(config).text(f"/dashboard/incidents/{incident}.md")
    if to is None:
        print(text)  # noqa: T201 - the result
    else:
        to.write_text(text)
        terminal.good(f"written to {to}")

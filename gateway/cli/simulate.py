"""``sentinel simulate …``: alerts made up for a running gateway, and a story that needs none."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from gateway import logs
from gateway.cli import terminal
from gateway.cli.control_client import connect
from gateway.cli.terminal import ConfigOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.simulate.story import Story

app = typer.Typer(
    no_args_is_help=True,
    help="Make up signals, to see what comes of them. Example: sentinel simulate story",
)

ServiceOption = Annotated[str, typer.Option(help="The upstream it is about; empty: the whole gateway.")]
ResolveOption = Annotated[bool, typer.Option("--resolve", help="Say that it is over.")]


def _post(kind: str, service: str, config: str, *, resolve: bool, as_json: bool) -> None:
    from gateway.simulate.alerts import alert

    body = alert(kind, service, random.Random(), resolved=resolve)  # noqa: S311 - a figure for show
    answer = connect(config).call("POST", "/api/v1/alerts/generic", body=body)
    if as_json:
        terminal.print_json({"sent": body, "answer": answer})
    else:
        terminal.good(f"{'resolved' if resolve else 'sent'}: {body['title']}")


def _sender(kind: str, what: str) -> Callable[..., None]:
    def send(
        *,
        service: ServiceOption = "",
        resolve: ResolveOption = False,
        config: ConfigOption = "sentinel.toml",
        as_json: JsonOption = False,
    ) -> None:
        _post(kind, service, config, resolve=resolve, as_json=as_json)

    send.__doc__ = f"An alert: {what}. Example: sentinel simulate {kind} --service orders"
    return send


for _kind, _what in (
    ("cpu", "the processor is busy"),
    ("memory", "memory runs out"),
    ("disk", "a disk fills up"),
    ("latency", "answers are slow"),
    ("database", "a database refuses connections"),
):
    app.command(_kind)(_sender(_kind, _what))


@app.command()
def story(
    *,
    seed: Annotated[int, typer.Option(help="The same seed tells the same story.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """An hour of five services, then a connection pool leaks: found, located, reported? Exit 0 only if so."""
    from gateway.simulate.story import tell

    logs.configure(level="CRITICAL")  # what control would log of a made-up incident is in the story
    with tempfile.TemporaryDirectory(prefix="sentinel-story-") as folder:
        if as_json:
            told = asyncio.run(tell(seed, Path(folder)))
            terminal.print_json(_as_json(told))
        else:
            told = _shown(seed, Path(folder))
    raise typer.Exit(terminal.FAILED if told.problems else terminal.OK)


def _shown(seed: int, folder: Path) -> Story:
    from rich.progress import BarColumn, Progress, TextColumn

    from gateway.simulate.story import callers, tell, timeline

    with Progress(
        TextColumn("An hour of usual traffic"),
        BarColumn(),
        TextColumn("{task.completed:.0f} min"),
        console=terminal.err,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=60)
        told = asyncio.run(tell(seed, folder, lambda minutes: progress.update(task, completed=minutes)))
    say = terminal.out.print
    quiet = "nobody was told of anything" if not told.false_alarms else f"{len(told.false_alarms)} false alarms"
    say(f"Five services, {told.records:,} requests, one hour of usual traffic: {quiet}.")
    hurt = ", ".join(callers(told.service))
    say(f"Then {told.service} gives its database connections back no more; {hurt} call it.")
    say("")
    for entry in timeline(told):
        say(f"  +{entry.at - told.began:4.0f} s  {terminal.printable(entry.text)}", markup=False)
    if told.report is not None:
        report = told.report.report
        say(f"\n{report.title}\n  {report.summary}", markup=False)
        say(f"  Cause ({report.confidence}, {report.confidence_score:.2f}): {report.root_cause}", markup=False)
        for claim in report.claims:
            say(f"  · {claim.text} [{', '.join(claim.evidence)}]", markup=False)
        for number, step in enumerate(report.steps, 1):
            say(f"  {number}. {step}", markup=False)
    say("")
    for problem in told.problems:
        terminal.bad(problem)
    if not told.problems:
        terminal.good(f"detected after {told.detected_s:.0f} s; {told.cause} named first")
    return told


def _as_json(told: Story) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(told)
    return {"ok": not told.problems, "problems": list(told.problems), **plain}

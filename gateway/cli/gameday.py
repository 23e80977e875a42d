"""``sentinel gameday``: faults with known causes and right answers, and what the gateway made of each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway import __version__, logs
from gateway.cli import terminal

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.gameday.judging import Goal, Result
    from gateway.gameday.running import Quiet
else:
    from pathlib import Path

# So many hours without a fault go with each run: 200 runs bring a week, which is what the goal speaks of.
QUIET_H_PER_RUN = 0.84
MOST_RUNS = 10_000
MOST_QUIET_H = 24 * 366.0


def gameday(
    *,
    runs: Annotated[int, typer.Option(help="How many faults.", min=0, max=MOST_RUNS)] = 22,
    seed: Annotated[int, typer.Option(help="The same seed plays the same faults.")] = 1,
    fault: Annotated[list[str] | None, typer.Option(help="Only this kind of fault; may be repeated.")] = None,
    quiet_hours: Annotated[
        float | None,
        typer.Option(help="Traffic without a fault.  [default: 0.84 for each run]", min=0, max=MOST_QUIET_H),
    ] = None,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="On the demo's processes, some minutes a fault, instead of simulated.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write one HTML page about it to this file.")] = None,
    catalogue: Annotated[bool, typer.Option("--list", help="Show the faults and the right answers, and end.")] = False,
    as_json: terminal.JsonOption = False,
) -> None:
    """Play faults and judge what was found, named and done. Example: sentinel gameday --runs 42 --html gameday.html"""
    from gateway.gameday.judging import goals as judged

    names = _known(fault or [], live=real_time)
    if catalogue:
        _list(names, as_json=as_json)
        return
    if html is not None and not html.absolute().parent.is_dir():
        terminal.fail(f"there is no folder {html.absolute().parent} for the report", code=terminal.USAGE)
    logs.configure(level="CRITICAL")  # what control would log of made-up incidents is in the report
    hours = quiet_hours if quiet_hours is not None else 0.0 if real_time else runs * QUIET_H_PER_RUN
    begun_at = time.time()
    results, quiet = _play(seed, runs, names, hours, real_time=real_time, silent=as_json)
    goals = judged(results, len(quiet.false_alarms) if quiet else 0, quiet.seconds if quiet else 0)
    facts = _facts(seed, runs, hours, begun_at, real_time=real_time)
    if html is not None:
        from gateway.gameday.report import page

        html.write_text(page(results, quiet, goals, facts), encoding="utf-8")
    met = bool(goals) and all(goal.met for goal in goals)
    if as_json:
        terminal.print_json(_document(results, quiet, goals, facts, met=met))
    else:
        _show(results, quiet, goals)
        if html is not None:
            terminal.good(f"the report: {html.absolute()}")
    raise typer.Exit(terminal.OK if met else terminal.FAILED)


def _known(names: list[str], *, live: bool) -> list[str]:
    from gateway.gameday.catalogue import BY_NAME
    from gateway.gameday.live import PLAYABLE

    offered = [name for name in BY_NAME if not live or name in PLAYABLE]
    for name in names:
        if name not in BY_NAME:
            terminal.fail(f"there is no fault {name!r}", f"one of {', '.join(offered)}", code=terminal.USAGE)
        if name not in offered:
            why = f"{name} cannot be played in real time"
            terminal.fail(why, f"one of {', '.join(offered)}", code=terminal.USAGE)
    return names or offered


def _play(
    seed: int, runs: int, names: list[str], hours: float, *, real_time: bool, silent: bool
) -> tuple[list[Result], Quiet | None]:
    from gateway.gameday import live, running

    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=terminal.err,
        disable=silent or not terminal.err.is_terminal,
    )
    with shown:
        task = shown.add_task("faults", total=runs)
        found: list[Result] = []
        for result in (live.results if real_time else running.results)(seed, runs, names):
            found.append(result)
            shown.advance(task)
        if not hours:
            return found, None
        seconds = max(1, round(hours * 3600))
        waiting = shown.add_task("quiet hours", total=round(hours))
        return found, running.quiet(seed, seconds, lambda done: shown.advance(waiting, done / 3600))


def _list(names: list[str], *, as_json: bool) -> None:
    from gateway.gameday.catalogue import BY_NAME
    from gateway.gameday.live import PLAYABLE

    kinds = [BY_NAME[name] for name in names]
    if as_json:
        terminal.print_json(
            [
                {"name": one.name, "title": one.title, "hard": one.hard, "right": list(one.right), "why": one.why,
                 "real_time": one.name in PLAYABLE}
                for one in kinds
            ]
        )  # fmt: skip
        return
    rows = [[one.name, one.title, " or ".join(one.right), one.why] for one in kinds]
    terminal.table(("fault", "what happens", "right", "because"), rows)


def _show(results: list[Result], quiet: Quiet | None, goals: tuple[Goal, ...]) -> None:
    from gateway.gameday.report import COLUMNS, cells, rows_by_kind

    if results:
        rows = [[name, *cells(figures)] for name, figures in rows_by_kind(results)]
        terminal.table(("fault", *COLUMNS), rows, right=COLUMNS)
    for one in results:
        if one.detected_s is None or not one.cause_first or not one.right:
            named = one.named[0] if one.named else "nothing"
            missed = "not found" if one.detected_s is None else f"named: {named}"
            terminal.out.print(
                terminal.printable(
                    f"run {one.number}: {one.said}; {missed}; done: {', '.join(one.actions) or 'nothing'}"
                ),
                markup=False,
            )
    for text in quiet.false_alarms if quiet else ():
        terminal.out.print(terminal.printable(f"false alarm: {text}"), markup=False)
    for goal in goals:
        (terminal.good if goal.met else terminal.bad)(f"{goal.name}: {goal.reached} (goal {goal.wanted})")


def _facts(seed: int, runs: int, hours: float, begun_at: float, *, real_time: bool) -> dict[str, str]:
    return {
        "played": f"{runs} faults {'in real time' if real_time else 'in compressed time'}, {hours:g} quiet hours",
        "seed": str(seed),
        "version": f"SentinelStack {__version__}",
        "begun": time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(begun_at)),
    }


def _document(
    results: list[Result], quiet: Quiet | None, goals: tuple[Goal, ...], facts: dict[str, str], *, met: bool
) -> dict[str, object]:
    from gateway.gameday.judging import score
    from gateway.gameday.report import rows_by_kind

    found: dict[str, object] = msgspec.to_builtins(
        {
            "met": met,
            "facts": facts,
            "goals": goals,
            "score": score(results),
            "hard": score([one for one in results if one.hard]),
            "faults": dict(rows_by_kind(results)[:-1]),
            "quiet": quiet,
            "runs": results,
        }
    )
    return found

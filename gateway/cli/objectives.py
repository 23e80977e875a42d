"""``sentinel slo``: what was promised, what is left of the budgets, and how fast they burn."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli import terminal
from gateway.cli.control_client import connect
from gateway.cli.terminal import ConfigOption, JsonOption


def slo(
    *,
    report: Annotated[bool, typer.Option("--report", help="The daily report as Markdown.")] = False,
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Service level objectives and their error budgets. Example: sentinel slo --json"""
    control = connect(config)
    if report:
        print(control.text("/api/v1/slos/report"))  # noqa: T201 - the result
        return
    page = control.call("GET", "/api/v1/slos")
    if as_json:
        terminal.print_json(page)
    elif not page["items"]:
        terminal.out.print("No objectives. Add [[slos]] to the configuration.")
    else:
        terminal.table(
            ("objective", "promised", "kept", "budget left", "burning", "level"), [_row(one) for one in page["items"]]
        )


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    promised = f"{one['objective'] * 100:g} %" + (f" < {one['latency_s'] * 1000:g} ms" if one["latency_s"] else "")
    firing = [burn for burn in one["burns"] if burn["firing"]]
    shown = max(firing or one["burns"], key=lambda burn: burn["long"])
    burning = f"{shown['long']:.1f} x over {shown['long_s'] / 3600:g} h" + (f" ({shown['severity']})" if firing else "")
    kept = f"{one['achieved'] * 100:.3f} %" if one["requests"] else "no traffic"
    return one["name"], promised, kept, f"{one['remaining'] * 100:.0f} %", burning, one["level"]

"""How a load test looks while it runs: a live table on a terminal, lines in a pipe, nothing with --json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from gateway.loadtest.figures import Outcome, Second
    from gateway.loadtest.running import Scenario

BARS = "▁▂▃▄▅▆▇█"
SHOWN = 40  # seconds of the little chart


class Show(Protocol):
    """Someone who is told what happens."""

    def begin(self, scenario: Scenario) -> None:
        """A scenario begins."""

    def second(self, second: Second) -> None:
        """One of its seconds is over."""

    def end(self, outcome: Outcome) -> None:
        """It is over."""


class Silence:
    """Shows nothing."""

    def begin(self, scenario: Scenario) -> None:
        """See Show."""

    def second(self, second: Second) -> None:
        """See Show."""

    def end(self, outcome: Outcome) -> None:
        """See Show."""


class Lines:
    """The judgements of each scenario when it is over, for a pipe or a log."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, scenario: Scenario) -> None:
        """See Show."""
        self._console.print(f"{scenario.name}: {scenario.title}", markup=False)

    def second(self, second: Second) -> None:
        """See Show."""

    def end(self, outcome: Outcome) -> None:
        """See Show."""
        self._console.print(judged(outcome))


class Terminal:
    """One line for each scenario, the running one moving. Use as a context manager."""

    def __init__(self, console: Console, scenarios: Sequence[Scenario], seconds: float) -> None:
        self._scenarios = scenarios
        self._seconds = seconds
        self._done: dict[str, Outcome] = {}
        self._running = ""
        self._timeline: list[Second] = []
        self.live = Live(self._view(), console=console, refresh_per_second=4)

    def begin(self, scenario: Scenario) -> None:
        """See Show."""
        self._running, self._timeline = scenario.name, []
        self.live.update(self._view())

    def second(self, second: Second) -> None:
        """See Show."""
        self._timeline.append(second)
        self.live.update(self._view())

    def end(self, outcome: Outcome) -> None:
        """See Show."""
        self._done[outcome.name] = outcome
        self._running = ""
        self.live.update(self._view())
        self.live.console.print(judged(outcome))

    def _view(self) -> Group:
        table = Table(show_edge=False, pad_edge=False, box=None, header_style="bold")
        table.add_column("scenario")
        for name in ("s", "req/s", "p95 ms", "errors"):
            table.add_column(name, justify="right")
        table.add_column("")
        for scenario in self._scenarios:
            table.add_row(*self._row(scenario))
        return Group(Text(), table)

    def _row(self, scenario: Scenario) -> tuple[str | Text, ...]:
        outcome = self._done.get(scenario.name)
        if outcome is not None:
            mark = Text("✓ ", "green") if outcome.held else Text("✗ ", "red")
            if outcome.seen is None:
                return (mark + scenario.name, "", "", "", "", Text("did not run to its end", "red"))
            whole, seconds = outcome.seen.whole, outcome.seen.seconds
            rate = f"{whole.requests / max(seconds, 0.001):.0f}"
            return (mark + scenario.name, f"{seconds:.0f}", rate, f"{whole.p95_ms:.1f}", str(whole.errors), Text())
        if scenario.name != self._running or not self._timeline:
            waiting = Text("starting" if scenario.name == self._running else "", "dim")
            return (Text(f"  {scenario.name}", "dim"), "", "", "", "", waiting)
        last = self._timeline[-1]
        errors = sum(second.errors for second in self._timeline)
        p95 = "" if last.p95_ms is None else f"{last.p95_ms:.1f}"
        bars = Text(sparkline([second.requests for second in self._timeline[-SHOWN:]]), "cyan")
        at = f"{last.at_s}/{self._seconds:.0f}"
        return (Text(f"▶ {scenario.name}", "bold"), at, str(last.requests), p95, str(errors), bars)


def sparkline(values: Sequence[float]) -> str:
    """The values as little bars, the highest full."""
    top = max(values, default=0) or 1
    return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in values)


def judged(outcome: Outcome) -> Text:
    """Every judgement of a scenario, one a line; text from outside shows its control characters."""
    lines = Text()
    lines.append(f"{outcome.name}\n", "bold")
    for check in outcome.checks:
        lines.append("  ✓ " if check.held else "  ✗ ", "green" if check.held else "red")
        lines.append(f"{plain(check.name)} ")
        lines.append(f"{plain(check.detail)}\n", "dim")
    if outcome.failure:
        lines.append("  ✗ ", "red")
        lines.append("\n    ".join(map(plain, outcome.failure.splitlines())) + "\n")
    lines.rstrip()
    return lines


def plain(text: str) -> str:
    """Text with its control characters as escapes, so that an error message cannot drive the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)

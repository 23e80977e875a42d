"""How the demo's story looks: colour on a terminal, plain lines in a pipe, one JSON object with ``--json``."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from gateway.demo.story import Summary

STYLES = {"quiet": "dim", "harm": "bold red", "sentinel": "bold cyan", "good": "bold green", "note": ""}
MARKS = {"quiet": " ", "harm": "✗", "sentinel": "▶", "good": "✓", "note": " "}
ROWS = {
    "detected": "incident opened",
    "located": "cause named (upstream and target)",
    "acted": "target ejected",
    "errors_stopped": "callers stopped failing",
    "verified": "action verified in live traffic",
    "returned": "target trusted again",
    "closed": "incident closed",
}


class TerminalTeller:
    """Sentences with elapsed time; rich drops the colours by itself where there is no terminal."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)  # the terminal wraps: a link must stay in one piece

    def tell(self, at_s: float, kind: str, text: str) -> None:
        """Print one sentence."""
        self.console.print(f"[dim]{at_s:6.1f} s[/dim] {MARKS[kind]} ", end="")
        self.console.print(text, style=STYLES[kind], markup=False)

    def summary(self, summary: Summary) -> None:
        """Print the table of times and the verdict."""
        table = Table(title="Seconds after the fault", title_justify="left", show_edge=False, pad_edge=False)
        table.add_column("what")
        table.add_column("s", justify="right")
        for chapter, words in ROWS.items():
            at = summary.times_s.get(chapter)
            table.add_row(words, f"{at:.1f}" if at is not None else "never")
        self.console.print()
        self.console.print(table)
        answers = ", ".join(f"{count} × {name}" for name, count in sorted(summary.answers.items()))
        self.console.print(f"\nCallers got: {answers}.", markup=False)
        self.console.print(f"Dashboard: {summary.dashboard}", markup=False)
        verdict = "The whole loop was seen." if summary.ok else f"Not as it should be: {summary.failure}"
        self.console.print(verdict, style="bold green" if summary.ok else "bold red", markup=False)


class JsonTeller:
    """Says nothing until the end."""

    def tell(self, at_s: float, kind: str, text: str) -> None:
        """Keep quiet: the summary holds it all."""

    def summary(self, summary: Summary) -> None:
        """Print one JSON object."""
        print(json.dumps({"ok": summary.ok, **dataclasses.asdict(summary)}, indent=2))  # noqa: T201 - the result

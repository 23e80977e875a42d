"""``sentinel demo``: set the stage, run the story, show what came of it, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.demo.load import Load
from gateway.demo.show import JsonTeller, TerminalTeller
from gateway.demo.stage import Stage
from gateway.demo.story import Story

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.demo.story import Summary

FAULTS = ("pool", "slow", "error")
INTERRUPTED = 130  # what a shell reports for Ctrl-C


async def run(*, fault: str, browser: bool, exit_when_closed: bool, as_json: bool, seed: int | None = None) -> int:
    """Run the demo; returns the exit code: 0 only if the whole loop was seen.

    Args:
        fault: pool, slow, error, or random.
        browser: open the dashboard when the story begins.
        exit_when_closed: end after the summary even on a terminal.
        as_json: print one JSON object instead of the story.
        seed: makes the draw of fault and target repeatable.
    """
    draw = random.Random(seed)
    chosen = draw.choice(FAULTS) if fault == "random" else fault
    teller = JsonTeller() if as_json else TerminalTeller()
    stay = sys.stdout.isatty() and not exit_when_closed and not as_json
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    with tempfile.TemporaryDirectory(prefix="sentinel-demo-", ignore_cleanup_errors=True) as folder:
        teller.tell(0.0, "quiet", "Starting three services (two targets each) and a gateway in front of them …")
        async with Stage(Path(folder)) as stage, _callers(stage, draw) as load:
            link = stage.set_up_link()
            if stay:
                teller.tell(0.0, "note", f"The dashboard, for as long as this runs: {link}")
            if stay and browser:
                webbrowser.open(link)
            story = asyncio.create_task(Story(stage, load, teller, fault=chosen, draw=draw).run())
            if not await _before(interrupted, story):
                print("\nStopped; every process of the demo is being ended.", file=sys.stderr)  # noqa: T201 - said once
                return INTERRUPTED
            summary = story.result()
            summary.dashboard = link if stay else f"{stage.admin_url}/dashboard (ends with the demo)"
            teller.summary(summary)
            if stay:
                teller.tell(
                    summary.ran_s, "note", "Everything keeps running so that you can look around. Ctrl-C ends it."
                )
                await interrupted.wait()
    return 0 if summary.ok else 1


@contextlib.asynccontextmanager
async def _callers(stage: Stage, draw: random.Random) -> AsyncIterator[Load]:
    load = Load(stage.url, stage.secret, draw)
    asking = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await load.close()


async def _before(interrupted: asyncio.Event, story: asyncio.Task[Summary]) -> bool:
    """Whether the story came to its end before somebody interrupted it."""
    waiting = asyncio.create_task(interrupted.wait())
    await asyncio.wait({story, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if story.done():
        return True
    story.cancel()
    await asyncio.gather(story, return_exceptions=True)
    return False

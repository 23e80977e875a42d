"""Many runs, one after the other: each with a fault drawn from the seed and its number, then quiet traffic."""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.config.checking import load
from gateway.domain.topology import Topology
from gateway.gameday import services
from gateway.gameday.catalogue import BY_NAME, CATALOGUE
from gateway.gameday.judging import judge
from gateway.gameday.play import play, play_quiet
from gateway.gameday.recording import record
from gateway.gameday.world import busyness
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.config.checking import Configuration
    from gateway.gameday.faults import Fault
    from gateway.gameday.judging import Result
    from gateway.gameday.recording import Recording

RUNS_PER_RECORDING = 10
_SOON_S = (30.0, 150.0)  # after the recording's end a fault begins
_LONGEST_QUIET_S = 604_800  # of one control; the next goes on with a new one


class Quiet(msgspec.Struct, frozen=True):
    """Traffic without a fault: how much of it, and what was said all the same."""

    seconds: int
    false_alarms: tuple[str, ...]


def configuration() -> Configuration:
    """What the gateway of a game day runs on."""
    return load(services.CONFIG, "gameday", Settings())


def drawn(number: int, seed: int, recording: Recording, names: Sequence[str] = ()) -> Fault:
    """The fault of a run: every kind has its turn before one comes again; everything else is chance."""
    kinds = [BY_NAME[name] for name in names] or list(CATALOGUE)
    turn, place = divmod(number, len(kinds))
    random.Random(f"{seed}/turn/{turn}").shuffle(kinds)  # noqa: S311 - repeatable is the point
    draw = random.Random(f"{seed}/fault/{number}")  # noqa: S311 - repeatable is the point
    return kinds[place].draw(draw, recording.end + draw.uniform(*_SOON_S), busyness(recording.end))


def results(seed: int, runs: int, names: Sequence[str] = ()) -> Iterator[Result]:
    """Judged runs in order. The same seed and number give the same, whatever the machine and however many there are."""
    ours = configuration()
    topology = Topology.of(ours.compiled)
    recording: Recording | None = None
    for number in range(runs):
        if recording is None or number % RUNS_PER_RECORDING == 0:
            recording = record(ours.compiled, f"{seed}/recording/{number // RUNS_PER_RECORDING}")
        fault = drawn(number, seed, recording, names)
        with tempfile.TemporaryDirectory(prefix="sentinel-gameday-") as folder:
            played = asyncio.run(play(ours, recording, fault, f"{seed}/run/{number}", Path(folder)))
        yield judge(number, fault, played, topology)


def quiet(seed: int, seconds: int, told: Callable[[int], None] = lambda _seconds: None) -> Quiet:
    """So much quiet traffic, a week at a time; ``told`` hears how many seconds are over."""
    ours = configuration()
    said: list[str] = []
    for week in range(math.ceil(seconds / _LONGEST_QUIET_S)):
        span = min(_LONGEST_QUIET_S, seconds - week * _LONGEST_QUIET_S)
        recording = record(ours.compiled, f"{seed}/quiet/{week}")
        with tempfile.TemporaryDirectory(prefix="sentinel-gameday-") as folder:
            played = asyncio.run(play_quiet(ours, recording, span, f"{seed}/quiet-run/{week}", Path(folder), told))
        said += [f"{one.title} (after {(one.opened_at - recording.end) / 3600:.1f} h)" for one in played.incidents]
    return Quiet(seconds, tuple(said))

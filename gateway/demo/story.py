"""The demo's plot: quiet traffic, a fault, and what the gateway makes of it, told as it happens.

Everything told is read from the running system: control's API for what it found and did, the callers' own answers for
what they felt. The story ends well only if every :data:`CHAPTERS` entry was seen.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import SentinelError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from gateway.demo.load import Load
    from gateway.demo.stage import Stage

QUIET_S = 22.0  # traffic before the fault: enough for "than its own last minutes", far from a baseline
DETECT_WITHIN_S = 30.0
ACT_WITHIN_S = 30.0
VERIFY_WITHIN_S = 60.0
CLOSE_WITHIN_S = 120.0
CALM_S = 5.0  # how long callers must have seen no failure before "errors stopped" is said
POLL_S = 0.5
MOST_CLAIMS = 4  # of the report; the incident page has them all

CHAPTERS = ("detected", "located", "acted", "errors_stopped", "verified", "returned", "closed")
# Lines of the incident's own time line that the story tells in its words.
TOLD_BY_THE_STORY = frozenset(
    {
        *("incident.opened", "incident.diagnosed", "incident.closed"),
        *("action.planned", "action.approved", "action.executed", "action.watching", "action.verified"),
    }
)
WORDS = {
    "pool": "loses its database connection pool",
    "slow": "becomes slow",
    "error": "answers every charge with an error",
}


class Teller(Protocol):
    """Whoever passes the story on."""

    def tell(self, at_s: float, kind: str, text: str) -> None:
        """One sentence, ``at_s`` seconds after the traffic began. ``kind``: quiet, harm, sentinel, good, note."""


@dataclass(slots=True)
class Summary:
    """What came of it. Times are seconds from the fault, None where the thing never happened."""

    fault: str
    upstream: str
    target: str
    times_s: dict[str, float] = field(default_factory=dict)
    incident: str = ""
    title: str = ""
    named_upstream: str = ""
    named_target: str = ""
    worst_failed_share: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    failure: str = ""
    dashboard: str = ""
    ran_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the whole loop was seen, with the right cause named and in time."""
        return not self.failure and all(chapter in self.times_s for chapter in CHAPTERS)


class PlotError(SentinelError):
    """The story stopped: something that should have happened did not, in the time it had."""


class Story:
    """Runs the plot once.

    Args:
        stage: the running processes.
        load: the callers, already asking.
        teller: gets each sentence.
        fault: pool, slow or error.
        draw: decides which payments target breaks.
    """

    def __init__(self, stage: Stage, load: Load, teller: Teller, *, fault: str, draw: random.Random) -> None:
        port = draw.choice(stage.targets["payments"])
        self._stage = stage
        self._load = load
        self._teller = teller
        self._begun = time.monotonic()
        self._fault_at = 0.0
        self._told = 0
        self.summary = Summary(fault=fault, upstream="payments", target=f"127.0.0.1:{port}")

    async def run(self) -> Summary:
        """Tell it from the quiet start to the closed incident."""
        try:
            await self._quiet()
            await self._break()
            await self._found()
            await self._mended()
            await self._lift()
            await self._closed()
        except PlotError as error:
            self.summary.failure = str(error)
            self._say("harm", str(error))
        self.summary.answers = dict(self._load.totals)
        self.summary.ran_s = round(time.monotonic() - self._begun, 1)
        return self.summary

    def _say(self, kind: str, text: str) -> None:
        self._teller.tell(time.monotonic() - self._begun, kind, text)

    def _mark(self, chapter: str) -> float:
        self.summary.times_s[chapter] = round(time.monotonic() - self._fault_at, 1)
        return self.summary.times_s[chapter]

    async def _quiet(self) -> None:
        self._say("quiet", "Traffic begins: three tenants place orders; orders calls catalog and payments through us.")
        await asyncio.sleep(QUIET_S)
        felt = self._load.felt(QUIET_S - 2)
        limited = self._load.felt(QUIET_S, "/catalog").limited
        self._say(
            "quiet",
            f"All is well: {felt.requests / (QUIET_S - 2):.0f} orders/s, {felt.failed} failed, "
            f"p95 {felt.p95_ms:.0f} ms. acme-batch-export asks too often and got 429 {limited} times; "
            "nobody else notices.",
        )
        if felt.failed or not felt.requests or not limited:
            raise PlotError(
                f"the quiet start was not quiet: {felt.requests} orders, {felt.failed} failed, {limited} limited\n"
                + self._stage.log_tail()
            )
        if found := await self._incidents():
            raise PlotError(f"a false alarm in quiet traffic: {found[0]['title']}")

    async def _break(self) -> None:
        summary = self.summary
        await self._stage.set_fault(summary.target, summary.fault)
        self._fault_at = time.monotonic()
        self._say(
            "harm",
            f"FAULT: one of two payments targets, {summary.target}, {WORDS[summary.fault]}. "
            "Its health check stays green.",
        )

    async def _found(self) -> None:
        incident = await self._until("detected", DETECT_WITHIN_S, lambda found: found)
        self.summary.incident = incident["id"]
        self.summary.title = incident["title"]
        self._say("sentinel", f"Incident {incident['id']} ({incident['severity']}): {incident['title']}")
        incident = await self._until("located", DETECT_WITHIN_S, self._locates)
        report = incident["diagnosis"]["report"]
        self._say("sentinel", f"Cause ({report['confidence']}): {report['root_cause']}")
        for claim in report["claims"][:MOST_CLAIMS]:
            self._say("note", f"· {claim['text']} [{', '.join(claim['evidence'])}]")
        leading = incident["diagnosis"]["hypotheses"][0]
        self.summary.named_upstream, self.summary.named_target = leading["upstream"], leading["target"]

    def _locates(self, incident: dict[str, Any]) -> bool:
        """Whether the leading hypothesis is the target that was really broken."""
        hypotheses = (incident.get("diagnosis") or {}).get("hypotheses") or [{}]
        named = hypotheses[0].get("upstream"), hypotheses[0].get("target")
        return named == (self.summary.upstream, self.summary.target)

    async def _mended(self) -> None:
        incident = await self._until(
            "acted", ACT_WITHIN_S, lambda found: any(action["executed_at"] for action in found["actions"])
        )
        action = next(action for action in incident["actions"] if action["executed_at"])
        if action["target"] != self.summary.target:
            raise PlotError(f"the wrong target was ejected: {action['target']} instead of {self.summary.target}")
        self._say("sentinel", f"Action ({action['risk']}): {action['effect']}")
        await self._errors_stop()
        incident = await self._until(
            "verified",
            VERIFY_WITHIN_S,
            lambda found: any((one["outcome"] or {}).get("verdict") == "helped" for one in found["actions"]),
        )
        outcome = next(one["outcome"] for one in incident["actions"] if one["outcome"])
        self._say("good", f"Verified: {outcome['statement']}")

    async def _errors_stop(self) -> None:
        deadline = time.monotonic() + VERIFY_WITHIN_S
        self._watch_harm(30.0)
        while not self._calm():
            if time.monotonic() > deadline:
                raise PlotError("callers still feel it a minute after the action")
            await asyncio.sleep(POLL_S)
        self.summary.times_s["errors_stopped"] = round(time.monotonic() - self._fault_at - CALM_S, 1)
        self._say("good", f"Callers: no failed order for {CALM_S:.0f} s (at the worst {self._worst()}).")

    def _calm(self) -> bool:
        felt = self._load.felt(CALM_S)
        slow = self.summary.fault == "slow" and felt.p95_ms > 500  # noqa: PLR2004 - the slow fault adds 900 ms
        return felt.requests > 0 and not felt.failed and not slow

    def _watch_harm(self, seconds: float = 5.0) -> None:
        self.summary.worst_failed_share = max(
            self.summary.worst_failed_share, round(self._load.felt(seconds).failed_share, 3)
        )

    def _worst(self) -> str:
        return f"{self.summary.worst_failed_share:.0%} of orders failed" if self.summary.fault != "slow" else "slow"

    async def _lift(self) -> None:
        await self._stage.set_fault(self.summary.target, "")
        self._say("note", f"The fault of {self.summary.target} is lifted. Nobody tells the gateway.")

    async def _closed(self) -> None:
        await self._until(
            "returned", CLOSE_WITHIN_S, lambda found: any(one["state"] == "REVERTED" for one in found["actions"])
        )
        self._say("sentinel", f"{self.summary.target} passed its trial and is back in rotation.")
        incident = await self._until("closed", CLOSE_WITHIN_S, lambda found: found["state"] == "CLOSED")
        carried_out = [one["target"] for one in incident["actions"] if one["executed_at"]]
        if carried_out != [self.summary.target]:
            raise PlotError(f"one action was needed, {len(carried_out)} were carried out: {', '.join(carried_out)}")
        self._say("good", f"Incident {self.summary.incident} is closed.")

    async def _until(self, chapter: str, within_s: float, seen: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The incident, once ``seen`` holds for it; new lines of its timeline are told meanwhile."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            incident = await self._incident()
            if incident:
                self._tell_new(incident)
                if seen(incident):
                    self._mark(chapter)
                    return incident
            self._watch_harm()
            await asyncio.sleep(POLL_S)
        raise PlotError(f"not {chapter.replace('_', ' ')} within {within_s:.0f} s\n{self._stage.log_tail()}")

    def _tell_new(self, incident: dict[str, Any]) -> None:
        for entry in incident["timeline"][self._told :]:
            if entry["kind"] not in TOLD_BY_THE_STORY:
                self._say("note", f"· {entry['text']}")
        self._told = len(incident["timeline"])

    async def _incident(self) -> dict[str, Any] | None:
        """The incident of the story; a second one would be a failure of grouping, and is said."""
        items = await self._incidents()
        if len(items) > 1:
            titles = "; ".join(item["title"] for item in items)
            raise PlotError(f"one disturbance became {len(items)} incidents: {titles}")
        if not items:
            return None
        return await self._stage.ask(f"/api/v1/incidents/{items[0]['id']}")

    async def _incidents(self) -> list[dict[str, Any]]:
        """Incidents of traffic: a disk that is almost full here is real, but no part of the story."""
        return [one for one in (await self._stage.ask("/api/v1/incidents"))["items"] if one["signal"] != "self"]

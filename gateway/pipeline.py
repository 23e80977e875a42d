"""One incident's way, top to bottom: detect, group, diagnose, plan, act, verify, close; people are told throughout.

Every step makes the next version of the incident and saves it before its effect is carried out, so that a control
process that dies anywhere is followed by one that goes on from there. Decisions are pure functions of the stages; this
module only routes values between them and keeps the order.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.acting import Acting
from gateway.casebook import joined, opened
from gateway.detect.detectors import examine_all
from gateway.detect.grouping import Join, Open
from gateway.detect.recovery import recovered
from gateway.domain.identity import SYSTEM
from gateway.domain.incident import Incident, IncidentState, Signal, TimelineEntry
from gateway.domain.plan import ACTIVE
from gateway.domain.topology import Topology
from gateway.errors import SentinelError
from gateway.hearsay import with_alerts
from gateway.notify.message import What
from gateway.second_look import due_again, finding, leading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from gateway.acting import ActionClaims, StopSwitch
    from gateway.casebook import Casebook
    from gateway.detect.detectors import Detector
    from gateway.detect.grouping import Decision, Grouper
    from gateway.domain.diagnosis import Diagnosis
    from gateway.domain.identity import Actor
    from gateway.domain.incident import ExternalAlert, Place
    from gateway.domain.plan import Action
    from gateway.domain.policy import DetectSettings, RemediateSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.window import Window
    from gateway.newsroom import Newsroom
    from gateway.remediate.closed_loop import Remediation

EXPLAINED = "incident.explained"


class Analysis(Protocol):
    """Diagnosis of an incident: at once by rules, in its own time perhaps by a model."""

    async def by_rules(self, incident: Incident, now: float) -> Diagnosis:
        """Evidence, hypotheses and the rule-based report; never fails."""
        ...

    async def by_model(self, incident: Incident, diagnosis: Diagnosis) -> Diagnosis | None:
        """The same with a model's report, or with the reason why not; None when no model is configured."""
        ...


class Alerts(Protocol):
    """Alerts of other monitoring."""

    def known(self) -> Mapping[str, ExternalAlert] | None:
        """By fingerprint, what fires and what ended lately; None while that is not known."""
        ...

    async def set_aside(self, places: Collection[Place]) -> None:
        """What still fires at these places speaks of nothing any more: its incident is closed."""
        ...


class Pipeline:
    """Runs :meth:`tick` every few seconds and takes people's decisions in between, one at a time."""

    def __init__(
        self,
        *,
        window: Window,
        detectors: Callable[[], tuple[Detector, ...]],
        grouper: Callable[[], Grouper],
        casebook: Casebook,
        analysis: Analysis,
        remediation: Remediation,
        claims: ActionClaims,
        newsroom: Newsroom,
        detect: Callable[[], DetectSettings],
        remediate: Callable[[], RemediateSettings],
        stop: StopSwitch | None = None,
        snapshot: Callable[[], Snapshot],
        clock: Callable[[], float],
        alerts: Alerts | None = None,
    ) -> None:
        self._window = window
        self._detectors = detectors
        self._grouper = grouper
        self._cases = casebook
        self._analysis = analysis
        self._news = newsroom
        self._detect_settings = detect
        self._snapshot = snapshot
        self._clock = clock
        self._alerts = alerts
        self._explaining: dict[str, asyncio.Task[None]] = {}
        self._lock = asyncio.Lock()
        self._acting = Acting(
            casebook=casebook,
            remediation=remediation,
            claims=claims,
            newsroom=newsroom,
            stop=stop,
            settings=remediate,
            clock=clock,
            lock=self._lock,
        )
        self._log = logs.get("pipeline")

    async def take_over(self) -> None:
        """Go on where whoever led before stopped."""
        async with self._lock:
            await self._cases.load()
            for incident in self._cases.open_ones:
                await self._news.tell_again(incident)

    async def tick(self) -> None:
        """One pass over recent traffic and every open incident."""
        async with self._lock:
            now = self._clock()
            self._window.forget(now)
            for decision in self._detect(now):
                await self._group(decision, now)
            for incident in self._cases.open_ones:
                try:
                    await self._advance(incident.id, now)
                except SentinelError as error:
                    self._log.error("incident.stuck", incident=incident.id, error=str(error))
            await self._news.reconsider(now)
            self._cases.forget_closed(now - self._detect_settings().cooldown_s)

    # Detect and group.

    def _detect(self, now: float) -> Sequence[Decision]:
        anomalies = examine_all(self._detectors(), self._window, now)
        if not anomalies:
            return ()
        return self._grouper().decide(anomalies, self._cases.all, Topology.of(self._snapshot()), now)

    async def _group(self, decision: Decision, now: float) -> None:
        if isinstance(decision, Open):
            await self._open(decision, now)
        elif isinstance(decision, Join):
            await self._join(decision, now)
        else:
            self._log.info("anomaly.suppressed", dedup_key=decision.dedup_key, why=decision.why)

    async def _open(self, decision: Open, now: float) -> None:
        incident = opened(decision, now)
        if incident.id in self._cases:
            return
        text = f"{decision.title}. {decision.anomalies[0].reason}. Grouped as {decision.dedup_key}: {decision.why}."
        self._cases.relate(await self._cases.save(incident, TimelineEntry(now, "incident.opened", text)))
        self._log.warning("incident.opened", incident=incident.id, severity=incident.severity, title=incident.title)

    async def _join(self, decision: Join, now: float) -> None:
        before = self._cases[decision.incident_id]
        incident = joined(before, decision, now)
        if incident.severity != before.severity:
            text = f"Raised to {incident.severity}: {decision.anomalies[0].reason}"
            incident = await self._cases.save(incident, TimelineEntry(now, "incident.raised", text))
            await self._news.tell(incident, What.RAISED)
        elif new := [one for one in decision.anomalies if one.place not in {known.place for known in before.anomalies}]:
            text = f"Belongs to it as well, {decision.why}: {new[0].reason}"
            await self._cases.save(incident, TimelineEntry(now, "incident.joined", text))
        else:
            self._cases.note(incident)

    async def _advance(self, incident_id: str, now: float) -> None:
        if self._alerts is not None and (known := self._alerts.known()) is not None:
            incident, news = with_alerts(self._cases[incident_id], known, now)
            if news:
                await self._cases.save(incident, *news)
            else:
                self._cases.note(incident)
        await self._diagnose(incident_id, now)
        if await self._acting.plan(incident_id, now):
            self._explain_once(incident_id)
        await self._acting.follow(incident_id, now)
        await self._close_when_over(incident_id, now)

    # Diagnose.

    async def _diagnose(self, incident_id: str, now: float) -> None:
        incident = self._cases[incident_id]
        before = incident.diagnosis
        if before is not None and not due_again(incident, before, now):
            return
        diagnosis = await self._analysis.by_rules(incident, now)
        if before is not None and incident.signal is Signal.SELF:
            if diagnosis.evidence != before.evidence:  # its numbers go on rising: nothing new for the story
                await self._cases.save(msgspec.structs.replace(incident, diagnosis=diagnosis))
            return
        if before is not None:
            if before.report.source != "rules" or leading(before) == leading(diagnosis):
                # The newest figures, or at least that they were looked at: else every pass would look again.
                by_model = before.report.source != "rules"
                found = msgspec.structs.replace(before, at=now) if by_model else diagnosis
                self._cases.note(msgspec.structs.replace(incident, diagnosis=found))
                return
            text = f"On a second look: {finding(diagnosis)}"
            incident = msgspec.structs.replace(incident, diagnosis=diagnosis)
            await self._cases.save(incident, TimelineEntry(now, "incident.diagnosed", text))
            return
        incident = msgspec.structs.replace(incident.moved_to(IncidentState.ANALYZING), diagnosis=diagnosis)
        incident = await self._cases.save(incident, TimelineEntry(now, "incident.diagnosed", finding(diagnosis)))
        await self._news.announce(incident, now)

    def _explain_once(self, incident_id: str) -> None:
        """Ask the model once per incident, beside the pipeline: it may take its time, nothing waits for it."""
        told = any(entry.kind == EXPLAINED for entry in self._cases[incident_id].timeline)  # by whoever led before
        if incident_id not in self._explaining and not told:
            task = asyncio.create_task(self._explain(incident_id), name=f"explain {incident_id}")
            self._explaining[incident_id] = task

    async def _explain(self, incident_id: str) -> None:
        incident = self._cases[incident_id]
        if incident.diagnosis is None:
            return
        better = await self._analysis.by_model(incident, incident.diagnosis)
        if better is None:
            return
        async with self._lock:
            incident = self._cases[incident_id]
            if incident.state is IncidentState.CLOSED:
                return
            report, now = better.report, self._clock()
            fell_back = (
                f", because of the model only by rules: {report.fallback_reason}" if report.fallback_reason else ""
            )
            entry = TimelineEntry(now, EXPLAINED, f"Report by {report.source}{fell_back}")
            incident = await self._cases.save(msgspec.structs.replace(incident, diagnosis=better), entry)
            await self._news.tell(incident, What.DIAGNOSED)

    # Close.

    async def _close_when_over(self, incident_id: str, now: float) -> None:
        incident = self._cases[incident_id]
        if incident.diagnosis is None or any(action.state in ACTIVE for action in incident.actions):
            return
        recovery = recovered(incident, self._window, now, clear_s=self._detect_settings().clear_s)
        if recovery.over:
            await self._close(incident_id, recovery.why, SYSTEM, now)

    async def _close(self, incident_id: str, why: str, actor: Actor, now: float) -> Incident:
        await self._acting.end_all(incident_id, now)
        incident = self._cases[incident_id].moved_to(IncidentState.CLOSED)
        incident = msgspec.structs.replace(incident, closed_at=now, close_reason=why)
        entry = TimelineEntry(now, "incident.closed", f"Closed: {why}", actor=actor.name)
        incident = await self._cases.save(incident, entry)
        if self._alerts is not None:
            said = [one for one in self._cases[incident_id].anomalies if one.signal is Signal.ALERT]
            await self._alerts.set_aside({one.place for one in said})
        self._log.warning("incident.closed", incident=incident_id, why=why)
        if (explaining := self._explaining.pop(incident_id, None)) is not None:
            explaining.cancel()
        await self._news.tell(incident, What.CLOSED)
        return incident

    # What people decide.

    async def approve(self, action_id: str, actor: Actor, fingerprint: str = "") -> Action:
        """Run a PENDING action; with the fingerprint of what was shown, only if it is still exactly that.

        Raises:
            NotFoundError, ForbiddenError, or ConflictError naming who was first.
        """
        async with self._lock:
            return await self._acting.approve(action_id, actor, fingerprint)

    async def reject(self, action_id: str, actor: Actor, reason: str) -> Action:
        """Decline a PENDING action. Raises as :meth:`approve`."""
        async with self._lock:
            return await self._acting.reject(action_id, actor, reason)

    async def take_back(self, action_id: str, actor: Actor, reason: str) -> Action:
        """Take an action that is in force back at once. Raises NotFoundError, ForbiddenError or ConflictError."""
        async with self._lock:
            return await self._acting.take_back(action_id, actor, reason)

    async def acknowledge(self, incident_id: str, actor: Actor) -> Incident:
        """Take care of an open incident. Raises NotFoundError, or ConflictError naming who was first."""
        async with self._lock:
            incident = await self._cases.acknowledge(incident_id, actor.name, self._clock())
            await self._news.tell(incident, What.ACKNOWLEDGED)
            return incident

    async def close(self, incident_id: str, actor: Actor, reason: str) -> Incident:
        """Close by hand; running actions are taken back. Raises NotFoundError or ConflictError."""
        async with self._lock:
            self._cases.open_one(incident_id).moved_to(IncidentState.CLOSED)
            return await self._close(incident_id, reason or f"by {actor.name}", actor, self._clock())

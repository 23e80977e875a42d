"""Diagnosis as the pipeline asks for it: evidence and hypotheses from the window, a report by rules or by the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.control.experience import recalled
from gateway.diagnose import own_trouble, rules
from gateway.diagnose.evidence import gather
from gateway.diagnose.prompt import Case
from gateway.diagnose.questions import Questions
from gateway.domain.diagnosis import Diagnosis
from gateway.domain.incident import Signal
from gateway.domain.plan import ActionState
from gateway.domain.topology import Topology
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.control.experience import Remembered, Shelf, Witness
    from gateway.diagnose.analyst import Analyst
    from gateway.diagnose.language_model import LanguageModel
    from gateway.diagnose.questions import Samples
    from gateway.diagnose.senders import KnownSenders
    from gateway.domain.incident import Change, Incident
    from gateway.domain.policy import DiagnoseSettings
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.window import Window
    from gateway.settings import Settings


class Diagnostician:
    """Joins the pure parts of diagnosis with the window, the topology and the changes in force."""

    def __init__(
        self,
        window: Window,
        snapshot: Callable[[], Snapshot],
        changes: Callable[[], tuple[Change, ...]],
        analyst: Analyst,
        *,
        has_model: bool,
        clock: Callable[[], float],
        samples: Samples | None = None,
        shelf: Shelf | None = None,
        memory: Remembered | None = None,
        witness: Witness | None = None,
        watch_model: Callable[[str], None] = lambda _why_not: None,
        senders: KnownSenders | None = None,
    ) -> None:
        self._window = window
        self._snapshot = snapshot
        self._changes = changes
        self._analyst = analyst
        self._has_model = has_model
        self._clock = clock
        self._samples = samples
        self._shelf = shelf
        self._memory = memory
        self._witness = witness
        self._watch_model = watch_model
        self._senders = senders

    async def by_rules(self, incident: Incident, now: float) -> Diagnosis:
        """Evidence, hypotheses and the rule-based report."""
        if incident.signal is Signal.SELF:
            return await self._of_ours(incident, now)
        topology = Topology.of(self._snapshot())
        evidence, hypotheses = gather(incident, self._window, now, topology, self._changes(), self._senders)
        worth = self._memory.worth if self._memory is not None else float
        plain = rules.report(incident, evidence, hypotheses, calibrate=worth)
        diagnosis = Diagnosis(now, evidence, hypotheses, plain)
        seen = msgspec.structs.replace(incident, diagnosis=diagnosis)
        evidence = await recalled(seen, diagnosis, self._shelf, self._memory, self._witness)
        report = rules.report(incident, evidence, hypotheses, calibrate=worth)
        return msgspec.structs.replace(diagnosis, evidence=evidence, report=report)

    async def _of_ours(self, incident: Incident, now: float) -> Diagnosis:
        """A part of the gateway itself: its findings say all, and runbooks may say more."""
        found = own_trouble.diagnosis(incident, own_trouble.evidence(incident), now)
        seen = msgspec.structs.replace(incident, diagnosis=found)
        return own_trouble.diagnosis(incident, await recalled(seen, found, self._shelf, self._memory), now)

    async def by_model(self, incident: Incident, diagnosis: Diagnosis) -> Diagnosis | None:
        """The same diagnosis with the model's report, or with the reason why it is still the rules'."""
        if not self._has_model or incident.signal is Signal.SELF:  # of ourselves nothing is left to be found out
            return None
        offered = tuple(action for action in incident.actions if action.state is ActionState.PENDING)
        topology = Topology.of(self._snapshot())
        questions = Questions(
            incident,
            diagnosis.evidence,
            diagnosis.hypotheses,
            window=self._window,
            topology=topology,
            changes=self._changes(),
            samples=self._samples,
        )
        case = Case(incident, diagnosis.evidence, diagnosis.hypotheses, offered, topology, questions)
        found = await self._analyst.explain(case, now=self._clock())
        self._watch_model(found.report.fallback_reason)
        return msgspec.structs.replace(diagnosis, report=found.report, evidence=(*diagnosis.evidence, *found.evidence))


def language_model(settings: DiagnoseSettings, environ: Settings) -> LanguageModel | None:
    """The vendor's module for ``[diagnose] provider``, imported only now: the SDKs take a second or two.

    Raises:
        ConfigError: the variable with the key is not set.
    """
    if settings.provider == "none":
        return None
    key = environ.secret(settings.api_key_env)
    if not key:
        raise ConfigError(
            f'[diagnose] provider = "{settings.provider}" needs {settings.api_key_env}, and it is not set',
            remedy=f"export {settings.api_key_env}=…",
        )
    if settings.provider == "anthropic":
        from gateway.diagnose.anthropic_model import AnthropicModel

        return AnthropicModel(model=settings.model, api_key=key, base_url=settings.base_url)
    from gateway.diagnose.openai_model import OpenAIModel

    return OpenAIModel(model=settings.model, api_key=key, base_url=settings.base_url)

"""Who writes the report: the model if one is configured, answers in time and stays within budget; else the rules."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec

from gateway import logs
from gateway.diagnose import prompt, rules
from gateway.diagnose.budget import Budget, cost_usd
from gateway.diagnose.language_model import UnusableAnswerError
from gateway.diagnose.redaction import Redactor
from gateway.diagnose.verdict import validated
from gateway.domain.policy import DiagnoseSettings
from gateway.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.diagnose.language_model import LanguageModel, ModelAnswer
    from gateway.domain.diagnosis import Evidence, Hypothesis, Report
    from gateway.domain.incident import Incident
    from gateway.domain.plan import Action

log = logs.get("diagnose")

# A report is about a thousand tokens; the rest is room for models that think before they write.
MAX_ANSWER_TOKENS = 6000


def _nobody_counts(_provider: str, _direction: str, _tokens: int) -> None:
    return


class Analyst:
    """Explains incidents. The statistics are done before; this only puts them into words.

    Args:
        settings: deadline and budgets.
        model: None for the rules alone.
        count_tokens: called with (provider, "in" or "out", tokens) after each call, for sentinel_model_tokens_total.
    """

    def __init__(
        self,
        settings: DiagnoseSettings | None = None,
        model: LanguageModel | None = None,
        *,
        count_tokens: Callable[[str, str, int], None] = _nobody_counts,
    ) -> None:
        self._settings = settings or DiagnoseSettings()
        self._model = model
        self._count_tokens = count_tokens
        self.budget = Budget(
            per_incident_tokens=self._settings.per_incident_tokens, per_day_usd=self._settings.per_day_usd
        )

    async def explain(
        self,
        incident: Incident,
        evidence: Sequence[Evidence],
        hypotheses: Sequence[Hypothesis],
        candidates: Sequence[Action] = (),
        *,
        now: float,
    ) -> Report:
        """The report, within the deadline. Never raises: whatever goes wrong, the rules speak and say why.

        Args:
            incident: what happened.
            evidence: the facts.
            hypotheses: possible causes, best first.
            candidates: the typed actions a model may choose from.
            now: seconds since the epoch, for the daily budget.
        """
        plain = rules.report(incident, evidence, hypotheses)
        if self._model is None:
            return plain
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                report = await self._ask(self._model, incident, evidence, hypotheses, candidates, plain, now)
        except TimeoutError:
            report = _fallback(plain, f"{self._model.provider} took longer than {self._settings.timeout_s:g} s")
        except ModelError as error:
            report = _fallback(plain, f"{error}; {error.remedy}" if error.remedy else str(error))
        except Exception as error:  # noqa: BLE001 - task border: an incident gets its report whatever a library does
            name = type(error).__name__
            # No traceback: the frames of a vendor's library can show the key and the question.
            log.error("model.broke", incident=incident.id, error=name)  # noqa: TRY400 - see above
            report = _fallback(plain, f"unexpected {name} while asking {self._model.provider}")
        report = msgspec.structs.replace(report, duration_s=round(time.monotonic() - begun, 3))
        if report.fallback_reason:
            log.warning("model.fell_back", incident=incident.id, reason=report.fallback_reason)
        return report

    async def close(self) -> None:
        """Let go of the model's connections."""
        if self._model is not None:
            await self._model.close()

    async def _ask(
        self,
        model: LanguageModel,
        incident: Incident,
        evidence: Sequence[Evidence],
        hypotheses: Sequence[Hypothesis],
        candidates: Sequence[Action],
        plain: Report,
        now: float,
    ) -> Report:
        redactor = Redactor(evidence)
        question = prompt.write(incident, evidence, hypotheses, candidates, redactor)
        refusal = self.budget.refusal(incident.id, model.model, question.tokens, MAX_ANSWER_TOKENS, now)
        if refusal:
            raise ModelError(refusal, remedy="raise budget in [diagnose]")
        try:
            answer = await model.answer(question.system, question.user, max_tokens=MAX_ANSWER_TOKENS)
        except UnusableAnswerError as error:
            self._spent(model, incident.id, error.tokens_in, error.tokens_out, now)
            raise
        except (TimeoutError, asyncio.CancelledError):
            # Nobody says what a broken-off answer cost: count the question and the most it may have said.
            self._spent(model, incident.id, question.tokens, MAX_ANSWER_TOKENS, now)
            raise
        self._spent(model, incident.id, answer.tokens_in, answer.tokens_out, now)
        offered = {one.id for one in candidates}
        try:
            report = validated(answer.draft, plain, evidence, hypotheses, offered, redactor)
        except ModelError as error:
            return _priced(_fallback(plain, str(error)), model, answer)
        return _priced(msgspec.structs.replace(report, source=model.provider), model, answer)

    def _spent(self, model: LanguageModel, incident_id: str, tokens_in: int, tokens_out: int, now: float) -> None:
        self.budget.spend(incident_id, model.model, tokens_in, tokens_out, now)
        self._count_tokens(model.provider, "in", tokens_in)
        self._count_tokens(model.provider, "out", tokens_out)


def _fallback(plain: Report, reason: str) -> Report:
    return msgspec.structs.replace(plain, fallback_reason=reason)


def _priced(report: Report, model: LanguageModel, answer: ModelAnswer) -> Report:
    cost = cost_usd(model.model, answer.tokens_in, answer.tokens_out)
    return msgspec.structs.replace(
        report,
        model=answer.model,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        cost_usd="unknown" if cost is None else f"{cost:f}",
    )

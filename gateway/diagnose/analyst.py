"""Who writes the report: the model if one is configured, answers in time and stays within budget; else the rules.

The model investigates within bounds: it may ask typed questions for a few rounds, writes a draft, and a second pass
tries to refute it. What it may spend in rounds, tokens, money and time is counted before each turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway import logs
from gateway.diagnose import prompt, rules
from gateway.diagnose.budget import Budget, cost_usd
from gateway.diagnose.language_model import (
    Draft,
    Exchange,
    Objection,
    ToolAnswer,
    UnusableAnswerError,
    decoded,
)
from gateway.diagnose.verdict import validated
from gateway.domain.policy import DiagnoseSettings
from gateway.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.diagnose.language_model import LanguageModel, Talk, Turn
    from gateway.diagnose.prompt import Case
    from gateway.diagnose.redaction import Redactor
    from gateway.domain.diagnosis import Evidence, Report

log = logs.get("diagnose")

# A report is about a thousand tokens; the rest is room for models that think before they write.
MAX_ANSWER_TOKENS = 6000
MOST_CALLS = 4  # questions answered per round; what is asked beyond gets a refusal
ASKING_SHARE = 0.6  # of the time: after that the answer is wanted
MOST_CACHED = 64


class Findings(NamedTuple):
    """A report, and the evidence that came out of questions; the report cites both."""

    report: Report
    evidence: tuple[Evidence, ...] = ()


def _nobody_counts(_provider: str, _direction: str, _tokens: int) -> None:
    return


class Analyst:
    """Explains incidents. The statistics are done before; this only puts them into words.

    Args:
        settings: deadline and budgets.
        model: None for the rules alone.
        count_tokens: called with (provider, "in" or "out", tokens) after each call, for sentinel_model_tokens_total.
        calibrate: what a score of the ranking has been worth so far.
    """

    def __init__(
        self,
        settings: DiagnoseSettings | None = None,
        model: LanguageModel | None = None,
        *,
        count_tokens: Callable[[str, str, int], None] = _nobody_counts,
        calibrate: Callable[[float], float] = float,
    ) -> None:
        self._settings = settings or DiagnoseSettings()
        self._model = model
        self._count_tokens = count_tokens
        self._calibrate = calibrate
        self._cache: OrderedDict[bytes, Findings] = OrderedDict()
        self.budget = Budget(
            per_incident_tokens=self._settings.per_incident_tokens, per_day_usd=self._settings.per_day_usd
        )

    async def explain(self, case: Case, *, now: float) -> Findings:
        """The report, within the deadline. Never raises: whatever goes wrong, the rules speak and say why.

        Args:
            case: incident, facts, hypotheses, the typed actions a model may choose from, and what it may ask.
            now: seconds since the epoch, for the daily budget.
        """
        plain = rules.report(case.incident, case.evidence, case.hypotheses, calibrate=self._calibrate)
        if self._model is None:
            return Findings(plain)
        begun = time.monotonic()
        talking = _Talking(self._model, self.budget, self._count_tokens, case.incident.id, now)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                found = await self._investigate(talking, case, plain, begun)
        except TimeoutError:
            found = _fallback(plain, f"{self._model.provider} took longer than {self._settings.timeout_s:g} s")
        except ModelError as error:
            found = _fallback(plain, f"{error}; {error.remedy}" if error.remedy else str(error))
        except Exception as error:  # noqa: BLE001 - task border: an incident gets its report whatever a library does
            name = type(error).__name__
            # No traceback: the frames of a vendor's library can show the key and the question.
            log.error("model.broke", incident=case.incident.id, error=name)  # noqa: TRY400 - see above
            found = _fallback(plain, f"unexpected {name} while asking {self._model.provider}")
        report = talking.priced(found.report)
        report = msgspec.structs.replace(report, duration_s=round(time.monotonic() - begun, 3))
        if report.fallback_reason:
            log.warning("model.fell_back", incident=case.incident.id, reason=report.fallback_reason)
        return found._replace(report=report)

    async def close(self) -> None:
        """Let go of the model's connections."""
        if self._model is not None:
            await self._model.close()

    async def _investigate(self, talking: _Talking, case: Case, plain: Report, begun: float) -> Findings:
        redactor = prompt.redactor_for(case)
        digest = prompt.digest(case, redactor, talking.model.model)
        known = self._cache.get(digest)
        if known is not None:
            self._cache.move_to_end(digest)
            return known._replace(report=msgspec.structs.replace(known.report, cached=True))
        draft, asked = await self._draft(talking, case, redactor, begun)
        found = case.questions.found if case.questions is not None else ()
        evidence = (*case.evidence, *found)
        objection, not_made = await self._refute(talking, case, evidence, draft, redactor, begun)
        offered = {one.id for one in case.candidates}
        report = validated(draft, plain, evidence, case.hypotheses, offered, redactor, objection)
        report = msgspec.structs.replace(
            report,
            source=talking.model.provider,
            model=talking.reported,
            questions=tuple(asked),
            refutation=report.refutation or f"not made: {not_made}",
        )
        findings = Findings(report, found)
        self._cache[digest] = findings
        while len(self._cache) > MOST_CACHED:
            self._cache.popitem(last=False)
        return findings

    async def _draft(self, talking: _Talking, case: Case, redactor: Redactor, begun: float) -> tuple[Draft, list[str]]:
        """Rounds of questions, then the draft."""
        steps = self._settings.steps
        talk = prompt.first(case, redactor, steps)
        asked: list[str] = []
        while True:
            spent_s = time.monotonic() - begun
            may_ask = (
                len(talk.exchanges) < steps
                and bool(talk.tools)
                and spent_s < ASKING_SHARE * self._settings.timeout_s
                and not talking.refusal(talk, turns=2)
            )
            talk = msgspec.structs.replace(talk, may_ask=may_ask)
            turn = await talking.turn(talk)
            if not turn.calls or case.questions is None:
                return decoded(turn, Draft), asked
            if not may_ask:
                raise ModelError(f"{talking.model.provider} went on asking instead of answering")
            answers = []
            for number, call in enumerate(turn.calls):
                if number >= MOST_CALLS:
                    answers.append(ToolAnswer(call.id, f"At most {MOST_CALLS} questions at a time: not answered."))
                    continue
                answers.append(ToolAnswer(call.id, await case.questions.answer(call, redactor)))
                asked.append(case.questions.in_words(call))
            exchange = Exchange(turn, tuple(answers))
            talk = msgspec.structs.replace(talk, exchanges=(*talk.exchanges, exchange))

    async def _refute(
        self,
        talking: _Talking,
        case: Case,
        evidence: tuple[Evidence, ...],
        draft: Draft,
        redactor: Redactor,
        begun: float,
    ) -> tuple[Objection | None, str]:
        """What speaks against the draft; None with the reason where the pass could not be made."""
        talk = prompt.second(case, evidence, draft, redactor)
        if talking.refusal(talk):
            return None, "over budget"
        left_s = self._settings.timeout_s - (time.monotonic() - begun)
        try:
            # A little less than is left: a late objection must not cost the report that is already there.
            async with asyncio.timeout(0.9 * left_s):
                return decoded(await talking.turn(talk), Objection), ""
        except TimeoutError:
            return None, "no time was left"
        except ModelError as error:
            return None, str(error)


class _Talking:
    """One incident's turns with a model: counts before each what it may cost, and after it what it did cost."""

    def __init__(
        self,
        model: LanguageModel,
        budget: Budget,
        count_tokens: Callable[[str, str, int], None],
        incident_id: str,
        now: float,
    ) -> None:
        self.model = model
        self.reported = model.model
        self._budget = budget
        self._count_tokens = count_tokens
        self._incident_id = incident_id
        self._now = now
        self._tokens_in = self._tokens_out = 0

    def refusal(self, talk: Talk, *, turns: int = 1) -> str:
        """Why so many turns like this may not be made; empty when they may."""
        tokens = prompt.tokens(talk) * turns
        return self._budget.refusal(self._incident_id, self.model.model, tokens, MAX_ANSWER_TOKENS * turns, self._now)

    async def turn(self, talk: Talk) -> Turn:
        """One turn, within budget. Raises ModelError."""
        if refusal := self.refusal(talk):
            raise ModelError(refusal, remedy="raise budget in [diagnose]")
        try:
            turn = await self.model.turn(talk, max_tokens=MAX_ANSWER_TOKENS)
        except UnusableAnswerError as error:
            self._spent(error.tokens_in, error.tokens_out)
            raise
        except (TimeoutError, asyncio.CancelledError):
            # Nobody says what a broken-off answer cost: count the question and the most it may have said.
            self._spent(prompt.tokens(talk), MAX_ANSWER_TOKENS)
            raise
        self._spent(turn.tokens_in, turn.tokens_out)
        self.reported = turn.model
        return turn

    def _spent(self, tokens_in: int, tokens_out: int) -> None:
        self._tokens_in += tokens_in
        self._tokens_out += tokens_out
        self._budget.spend(self._incident_id, self.model.model, tokens_in, tokens_out, self._now)
        self._count_tokens(self.model.provider, "in", tokens_in)
        self._count_tokens(self.model.provider, "out", tokens_out)

    def priced(self, report: Report) -> Report:
        """The report with what it cost; one out of the cache cost nothing."""
        if not self._tokens_in + self._tokens_out:
            return msgspec.structs.replace(report, tokens_in=0, tokens_out=0, cost_usd="0")
        cost = cost_usd(self.model.model, self._tokens_in, self._tokens_out)
        return msgspec.structs.replace(
            report,
            model=self.reported,
            tokens_in=self._tokens_in,
            tokens_out=self._tokens_out,
            cost_usd="unknown" if cost is None else f"{cost:f}",
        )


def _fallback(plain: Report, reason: str) -> Findings:
    return Findings(msgspec.structs.replace(plain, fallback_reason=reason))

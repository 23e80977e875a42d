"""The questions a model may ask: read-only, typed, and answered in our own words with new evidence to cite.

Arguments are names of the configuration out of a closed list, never free text; answers hold numbers, names of the
configuration and tokens such as ``[path-1]``. What callers wrote stands in no answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from gateway.diagnose import changes as changes_
from gateway.diagnose.language_model import Tool
from gateway.diagnose.redaction import quoted
from gateway.diagnose.surroundings import Facts, ago, percent
from gateway.domain.histogram import quantile
from gateway.domain.paging import RequestFilter
from gateway.domain.traffic import ErrorKind
from gateway.domain.window import FINE_S
from gateway.errors import SentinelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.diagnose.language_model import ToolCall
    from gateway.diagnose.redaction import Redactor
    from gateway.domain.diagnosis import Evidence, Hypothesis
    from gateway.domain.incident import Change, Incident
    from gateway.domain.paging import Page
    from gateway.domain.topology import Topology
    from gateway.domain.traffic import RequestRecord, SeriesKey
    from gateway.domain.window import Window

_CELLS = 12  # five-second cells shown before and since the onset
_MOST_SAMPLES = 10
_SAMPLED = 200  # records looked through for them
_MOST_CHARACTERS = 3000
_MOST_DIFF_LINES = 12
_MOST_CHOICES = 100
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Samples(Protocol):
    """Stored request records."""

    async def search(self, wanted: RequestFilter) -> Page[RequestRecord]:
        """Newest first."""
        ...


class Questions:
    """Answers for one incident.

    Args:
        incident: whose onset and place the answers turn around.
        evidence: what is known already; answers are numbered on from it.
        hypotheses: possible causes.
        window: recent traffic.
        topology: the names that may be asked for.
        changes: what was changed on purpose lately.
        samples: stored records; None where there are none.
    """

    def __init__(
        self,
        incident: Incident,
        evidence: Sequence[Evidence],
        hypotheses: Sequence[Hypothesis],
        *,
        window: Window,
        topology: Topology,
        changes: Sequence[Change] = (),
        samples: Samples | None = None,
    ) -> None:
        self._incident = incident
        self._known = len(evidence)
        self._facts = Facts()
        self._facts.items = list(evidence)
        self._hypotheses = {one.id: one for one in hypotheses}
        self._window = window
        self._calls = topology
        self._known_changes = changes
        self._records = samples
        self._targets = sorted({target for targets in topology.targets.values() for target in targets})

    @property
    def found(self) -> tuple[Evidence, ...]:
        """Evidence that came out of answers."""
        return tuple(self._facts.items[self._known :])

    def tools(self) -> tuple[Tool, ...]:
        """What may be asked; every argument is a choice from a list."""
        upstream = _choice("Which service.", sorted(self._calls.targets))
        target = _choice("One of its targets, or all.", ["all", *self._targets])
        found = [
            Tool(
                "series",
                "Requests, failures and p95 of a service in five-second steps around the onset.",
                _object(upstream=upstream, target=target),
            ),
            Tool("changes", "What was changed on purpose before the onset, with the difference.", _object()),
            Tool("topology", "Whom a service calls, who calls it, and its targets.", _object(upstream=upstream)),
        ]
        if self._hypotheses:
            which = _choice("Which hypothesis.", sorted(self._hypotheses))
            found.append(Tool("hypothesis", "What a hypothesis rests on, figures included.", _object(hypothesis=which)))
        if self._records is not None:
            outcome = _choice("Which requests.", ["failed", "slow", "any"])
            found.append(
                Tool("samples", "Single requests since the onset.", _object(upstream=upstream, outcome=outcome))
            )
        return tuple(found)

    async def answer(self, call: ToolCall, redactor: Redactor) -> str:
        """The answer to a question; one that is not on the list is answered with the list."""
        tools = {tool.name: tool for tool in self.tools()}
        tool = tools.get(call.name)
        if tool is None:
            return f"There is no such question. There are: {', '.join(tools)}."
        wrong = _wrong(tool, call.arguments)
        if wrong:
            return wrong
        text = await getattr(self, f"_{tool.name}")(redactor, **call.arguments)
        redactor.learn(self.found)
        return redactor.hide(text)[:_MOST_CHARACTERS]

    def in_words(self, call: ToolCall) -> str:
        """A question for people: its name and choices if they are on the list, else that it was none."""
        tool = next((one for one in self.tools() if one.name == call.name), None)
        if tool is None or _wrong(tool, call.arguments):
            return "something that cannot be asked"
        return " ".join((tool.name, *call.arguments.values()))

    def _fact(self, kind: str, statement: str, values: dict[str, float | int | str] | None = None) -> str:
        return f"{self._facts.add(kind, statement, values or {})}: {statement}"

    async def _series(self, _redactor: Redactor, *, upstream: str, target: str) -> str:
        def here(key: SeriesKey) -> bool:
            return key.upstream == upstream and target in {"all", key.target}

        onset = int(self._incident.onset) // FINE_S * FINE_S
        cells = self._window.series(onset - _CELLS * FINE_S, onset + _CELLS * FINE_S, where=here)
        steps, values = [], dict[str, float | int | str]()
        for at, tally in cells:
            p95 = (quantile(tally.latency, 0.95) or 0.0) / 1000
            steps.append(f"{at - onset:+d} s {tally.requests}/{tally.errors}/{p95:.0f}")
            values[f"errors {at - onset:+d} s"] = tally.errors
        which = upstream if target == "all" else f"{upstream}, target {target}"
        text = f"Requests/failures/p95 in ms of {which} in steps of {FINE_S} s around the onset: {'; '.join(steps)}."
        return self._fact("series", text, values)

    async def _changes(self, _redactor: Redactor) -> str:
        ranked = changes_.rank(self._known_changes, self._incident.onset, self._incident.place, self._calls)
        lines = []
        for one in ranked:
            lead = ago(one.lead_s)
            # Only the difference of a configuration is in our own words; a deploy's is somebody's commit message.
            difference = one.change.diff.splitlines()[:_MOST_DIFF_LINES] if one.change.kind == "config" else []
            kind = "Configuration revision" if one.change.kind == "config" else "Deploy"
            detail = f" Difference: {'; '.join(difference)}." if difference else ""
            values: dict[str, float | int | str] = {"change": one.change.title, "lead_s": round(one.lead_s)}
            lines.append(self._fact("change", f"{kind} {quoted(one.change.title)}, {lead} before.{detail}", values))
        return "\n".join(lines) or self._fact("change", "Nothing was changed on purpose in the half hour before.")

    async def _topology(self, _redactor: Redactor, *, upstream: str) -> str:
        callers = sorted(one for one, callees in self._calls.depends_on.items() if upstream in callees)
        calls = self._calls.depends_on.get(upstream, ())
        targets = self._calls.targets.get(upstream, ())
        return self._fact(
            "topology",
            f"{upstream} calls {', '.join(calls) or 'nobody known'}, is called by "
            f"{', '.join(callers) or 'nobody but clients'}, and has {len(targets)} targets: {', '.join(targets)}.",
        )

    async def _hypothesis(self, _redactor: Redactor, *, hypothesis: str) -> str:
        one = self._hypotheses[hypothesis]
        cited = [fact for fact in self._facts.items if fact.id in one.evidence]
        why = f" Ruled out: {one.why}." if one.ruled_out else f" Score {one.score:.2f}, lead {one.margin:.2f}."
        return "\n".join([f"{one.id}: {one.statement}.{why}", *(f"{fact.id}: {fact.statement}" for fact in cited)])

    async def _samples(self, redactor: Redactor, *, upstream: str, outcome: str) -> str:
        if self._records is None:
            return "No records are at hand."
        wanted = RequestFilter(
            upstream=upstream, since=self._incident.onset, limit=_SAMPLED, status=5 if outcome == "failed" else 0
        )
        try:
            found = (await self._records.search(wanted)).items
        except SentinelError:
            return "The store is away: there are no records to look at."
        if outcome == "slow":
            found = tuple(sorted(found, key=lambda one: -one.duration_us))
        lines = [_sample(record, redactor) for record in found[:_MOST_SAMPLES]]
        failed = sum(one.status >= 500 for one in found)  # noqa: PLR2004 - HTTP's server errors
        summary = (
            f"{len(found)} requests to {upstream} looked at, {failed} failed"
            + (f" ({percent(failed / len(found))})" if found else "")
            + f", by {len({one.client for one in found})} clients on {len({one.path for one in found})} paths."
        )
        values: dict[str, float | int | str] = {"looked_at": len(found), "failed": failed}
        return "\n".join([self._fact("sample", summary, values), *lines])


def _sample(record: RequestRecord, redactor: Redactor) -> str:
    """One request without a word of its sender."""
    method = record.method if record.method in _METHODS else "other"
    error = record.error if record.error in set(ErrorKind) else ""
    return (
        f"{method} {redactor.token('path', record.path)} of {redactor.token('tenant', record.tenant)} by "
        f"{redactor.token('client', record.client)} with {redactor.token('agent', record.user_agent)}: "
        f"status {record.status}{f' ({error})' if error else ''}, {record.duration_us / 1000:.0f} ms at "
        f"{redactor.name('target', record.target) or 'no target'}"
    )


def _choice(description: str, names: list[str]) -> dict[str, Any]:
    return {"type": "string", "description": description, "enum": names[:_MOST_CHOICES]}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _wrong(tool: Tool, arguments: Any) -> str:
    """What is wrong with the arguments, without repeating any of them; empty when nothing."""
    wanted = tool.parameters["properties"]
    if not isinstance(arguments, dict) or arguments.keys() != wanted.keys():
        return f"{tool.name} takes exactly: {', '.join(wanted) or 'nothing'}."
    for name, choice in wanted.items():
        if arguments[name] not in choice["enum"]:
            return f"{name} is one of: {', '.join(choice['enum'])}."
    return ""

"""A bounded investigation over both real libraries: questions, answers, a second pass that objects, a cache."""

from __future__ import annotations

import json

import pytest

from gateway.diagnose.analyst import Analyst
from gateway.diagnose.prompt import Case
from gateway.diagnose.questions import Questions
from gateway.domain.incident import Change
from gateway.domain.paging import Page
from gateway.domain.policy import DiagnoseSettings
from tests.integration.diagnose.test_models import ACTION, model_of
from tests.model_server import GOOD, ModelServer
from tests.unit.detect.traffic_model import START
from tests.unit.diagnose.story import FAULT, P1, TOPOLOGY, diagnosed, tell
from tests.unit.diagnose.test_questions import HOSTILE, record

pytestmark = pytest.mark.anyio

TOLD = tell(lambda flow: flow._replace(errors=0.9) if flow.target == P1 else flow)
EVIDENCE, HYPOTHESES = diagnosed(TOLD)
CHANGE = Change(FAULT - 40, "deploy", HOSTILE)


class Records:
    async def search(self, wanted):
        return Page((record(path=HOSTILE, user_agent=HOSTILE), record(path="/quiet")))


@pytest.fixture
async def server():
    async with ModelServer() as running:
        running.answer = GOOD | {"root_cause": f"Target {P1} of payments fails."}
        yield running


@pytest.fixture(params=["anthropic", "openai"])
async def analyst(request, server):
    made = Analyst(DiagnoseSettings(provider=request.param), model_of(request.param, server))
    yield made
    await made.close()


def case():
    incident = TOLD.incidents[0]
    questions = Questions(
        incident,
        EVIDENCE,
        HYPOTHESES,
        window=TOLD.traffic.window,
        topology=TOPOLOGY,
        changes=(CHANGE,),
        samples=Records(),
    )
    return Case(incident, EVIDENCE, HYPOTHESES, (ACTION,), TOPOLOGY, questions)


ALL = [
    [("series", {"upstream": "payments", "target": P1}), ("topology", {"upstream": "payments"})],
    [("samples", {"upstream": "payments", "outcome": "failed"}), ("changes", {})],
]


async def test_the_model_asks_and_may_cite_what_the_answers_brought(analyst, server):
    server.ask = [list(one) for one in ALL]
    fresh = f"e{len(EVIDENCE) + 1}"
    server.answer = GOOD | {"root_cause": f"{P1} fails", "claims": [{"text": "It began at once.", "evidence": [fresh]}]}
    report, found = await analyst.explain(case(), now=START)
    assert report.fallback_reason == ""
    assert report.questions == (f"series payments {P1}", "topology payments", "samples payments failed", "changes")
    assert found[0].id == fresh and found[0].kind == "series"
    assert report.claims[0].evidence == (fresh,)
    assert report.tokens_in == 4000  # two rounds of questions, the report, the objection


async def test_what_callers_wrote_stands_in_no_answer(analyst, server):
    server.ask = [list(one) for one in ALL]
    await analyst.explain(case(), now=START)
    sent = json.dumps([question for _, _, question in server.requests], ensure_ascii=False)
    assert "[path-1]" in sent and "[change-1]" in sent
    assert not [word for word in HOSTILE.split() if word in sent]


@pytest.mark.parametrize(
    "asked",
    [
        ("eject", {"target": P1}),
        ("series", {"upstream": "nobody", "target": "all"}),
        ("series", {"upstream": ["payments"], "target": "all"}),
        ("series", {}),
        ("changes", {"sql": "drop table"}),
        ("topology", "not an object"),
    ],
)
async def test_a_question_that_is_not_on_the_list_is_answered_with_the_list(analyst, server, asked):
    server.ask = [[asked]]
    report, found = await analyst.explain(case(), now=START)
    assert report.fallback_reason == ""
    assert report.questions == ("something that cannot be asked",)
    assert found == ()


async def test_rounds_are_bounded_and_then_the_answer_is_wanted(analyst, server):
    server.ask = [[("changes", {})] for _ in range(50)]
    report, _ = await analyst.explain(case(), now=START)
    assert report.fallback_reason == ""
    assert len(report.questions) == DiagnoseSettings().steps
    assert server.requests[-2][2]["tool_choice"] in ({"type": "none"}, "none")


async def test_questions_of_one_round_are_bounded(analyst, server):
    server.ask = [[("changes", {})] * 30]
    report, _ = await analyst.explain(case(), now=START)
    assert len(report.questions) == 4


async def test_without_budget_for_questions_the_answer_comes_at_once(server):
    settings = DiagnoseSettings(per_incident_tokens=10_000)
    analyst = Analyst(settings, model_of("anthropic", server))
    server.ask = [[("changes", {})]]
    report, _ = await analyst.explain(case(), now=START)
    assert report.questions == ()
    assert report.source == "anthropic"
    await analyst.close()


async def test_an_objection_that_cites_evidence_lowers_the_confidence_and_takes_its_claim(analyst, server):
    server.answer = server.answer | {
        "claims": [{"text": "True.", "evidence": ["e1"]}, {"text": "False.", "evidence": ["e2"]}]
    }
    sure, _ = await analyst.explain(case(), now=START)
    server.objection = {
        "verdict": "weakened",
        "reason": "Another target fails too.",
        "evidence": ["e2"],
        "refuted_claims": ["c2"],
    }
    doubted, _ = await Analyst(model=analyst._model).explain(case(), now=START)
    assert sure.refutation == "stands" and len(sure.claims) == 2
    assert doubted.refutation == "weakened: Another target fails too. (e2)"
    assert [claim.text for claim in doubted.claims] == ["True."]
    assert doubted.confidence_score == pytest.approx(0.8 * sure.confidence_score, abs=0.001)


@pytest.mark.parametrize("cited", [[], ["e99"], ["e1", "e99"]])
async def test_an_objection_without_evidence_counts_for_nothing(analyst, server, cited):
    server.objection = {"verdict": "refuted", "reason": "No.", "evidence": cited, "refuted_claims": ["c1"]}
    report, _ = await analyst.explain(case(), now=START)
    assert report.refutation == "stands"
    assert len(report.claims) == 1


async def test_a_second_pass_that_fails_costs_nothing_but_itself(analyst, server):
    server.objection = {"nonsense": 1}
    report, _ = await analyst.explain(case(), now=START)
    assert report.source != "rules"
    assert report.refutation.startswith("not made: the answer is not the JSON")


async def test_the_same_evidence_is_explained_once(analyst, server):
    first, _ = await analyst.explain(case(), now=START)
    asked = len(server.requests)
    again, _ = await analyst.explain(case(), now=START)
    assert len(server.requests) == asked
    assert again.cached and again.cost_usd == "0" and again.tokens_in == 0
    assert again.root_cause == first.root_cause
    other, _ = await analyst.explain(case()._replace(evidence=EVIDENCE[:-1]), now=START)
    assert not other.cached

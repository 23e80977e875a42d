"""What models may cost."""

from __future__ import annotations

from decimal import Decimal

from gateway.diagnose.anthropic_model import DEFAULT_MODEL as ANTHROPIC
from gateway.diagnose.budget import Budget, cost_usd
from gateway.diagnose.openai_model import DEFAULT_MODEL as OPENAI

NOON = 1_700_049_600.0


def budget(tokens=10_000, usd=1.0):
    return Budget(per_incident_tokens=tokens, per_day_usd=usd)


def test_a_dated_version_costs_what_its_model_costs():
    assert cost_usd("gpt-5-mini-2025-08-07", 1_000_000, 0) == cost_usd("gpt-5-mini", 1_000_000, 0) == Decimal("0.25")


def test_another_model_of_the_same_family_is_not_guessed():
    assert cost_usd("gpt-5-mini-turbo", 1, 1) is None


def test_the_defaults_have_a_price():
    assert cost_usd(ANTHROPIC, 1, 1) and cost_usd(OPENAI, 1, 1)


def test_each_incident_has_its_own_tokens():
    purse = budget(tokens=1000)
    purse.spend("a", "gpt-5-mini", 900, 0, NOON)
    assert purse.refusal("a", "gpt-5-mini", 200, 0, NOON).startswith("over budget")
    assert purse.refusal("b", "gpt-5-mini", 200, 0, NOON) == ""


def test_the_daily_purse_is_full_again_the_next_day_but_not_when_the_clock_jumps_back():
    purse = budget(tokens=10**9, usd=1.0)
    purse.spend("a", "gpt-5-mini", 3_900_000, 0, NOON)
    assert purse.refusal("b", "gpt-5-mini", 1_000_000, 0, NOON)
    assert purse.refusal("b", "gpt-5-mini", 1_000_000, 0, NOON - 86_400)
    assert purse.refusal("b", "gpt-5-mini", 1_000_000, 0, NOON + 86_400) == ""


def test_a_model_without_a_price_is_held_by_tokens_alone():
    purse = budget(tokens=1000, usd=0.0)
    assert purse.refusal("a", "llama", 900, 0, NOON) == ""
    assert purse.refusal("a", "llama", 1100, 0, NOON)


def test_the_memory_of_incidents_is_bounded():
    purse = budget()
    for number in range(5000):
        purse.spend(str(number), "llama", 1, 1, NOON)
    assert len(purse._tokens) == 1000

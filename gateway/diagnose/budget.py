"""What models may cost: tokens per incident, USD per day; and what tokens cost."""

from __future__ import annotations

import re
from collections import OrderedDict
from decimal import Decimal

# USD per million tokens (in, out): standard list prices as of November 2026, for prompts under 100,000 tokens. A name
# also stands for its dated versions. An unlisted model has no known cost: the token budget still holds, and the
# report says "unknown".
PRICES: dict[str, tuple[str, str]] = {
    "claude-fable-5": ("10", "50"),
    "claude-fable-5-1": ("10", "50"),
    "claude-opus-5-5": ("4", "20"),
    "claude-opus-5": ("5", "25"),
    "claude-opus-4-8": ("5", "25"),
    "claude-opus-4-7": ("5", "25"),
    "claude-opus-4-6": ("5", "25"),
    "claude-opus-4-5": ("5", "25"),
    "claude-sonnet-5-5": ("2", "10"),
    "claude-sonnet-5": ("2", "10"),
    "claude-sonnet-4-6": ("3", "15"),
    "claude-sonnet-4-5": ("3", "15"),
    "claude-haiku-5-5": ("0.10", "0.50"),
    "claude-haiku-4-5": ("1", "5"),
    "gpt-6.1-sol": ("2", "10"),
    "gpt-6.1-terra": ("1", "5"),
    "gpt-6-astra": ("10", "50"),
    "gpt-6-sol": ("2", "10"),
    "gpt-6-luna": ("0.10", "0.50"),
    "gpt-5.6-sol": ("4", "20"),
    "gpt-5.6-terra": ("2", "12"),
    "gpt-5.6-luna": ("0.20", "1.20"),
    "gpt-5.5": ("5", "30"),
    "gpt-5.4": ("2.50", "15"),
    "gpt-5.4-mini": ("0.75", "4.50"),
    "gpt-5": ("1.25", "10"),
    "gpt-5-mini": ("0.25", "2"),
    "gpt-5-nano": ("0.05", "0.40"),
    "gpt-4.1": ("2", "8"),
    "gpt-4.1-mini": ("0.40", "1.60"),
    "gpt-4o": ("2.50", "10"),
    "gpt-4o-mini": ("0.15", "0.60"),
}
_DATE = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2})$")
_MILLION = Decimal(1_000_000)
_DAY_S = 86_400
_MOST_INCIDENTS = 1000


def cost_usd(model: str, tokens_in: int, tokens_out: int) -> Decimal | None:
    """What a call cost, or None for a model whose price is not known."""
    prices = PRICES.get(_DATE.sub("", model))
    if prices is None:
        return None
    price_in, price_out = (Decimal(price) for price in prices)
    return (price_in * tokens_in + price_out * tokens_out) / _MILLION


class Budget:
    """Counts what was spent, by incident and by UTC day, in this process.

    Args:
        per_incident_tokens: in and out together, over all reports of one incident.
        per_day_usd: over everything; calls to models without a known price are not counted here.
    """

    def __init__(self, *, per_incident_tokens: int, per_day_usd: float) -> None:
        self._per_incident_tokens = per_incident_tokens
        self._per_day_usd = Decimal(str(per_day_usd))
        self._tokens: OrderedDict[str, int] = OrderedDict()
        self._day = -1
        self.spent_today_usd = Decimal(0)

    def refusal(self, incident_id: str, model: str, tokens_in: int, tokens_out: int, now: float) -> str:
        """Why a call of that size may not be made; empty when it may."""
        self._turn(now)
        spent = self._tokens.get(incident_id, 0)
        if spent + tokens_in + tokens_out > self._per_incident_tokens:
            return (
                f"over budget: this report needs up to {tokens_in + tokens_out} tokens, {spent} of "
                f"{self._per_incident_tokens} for this incident are spent"
            )
        cost = cost_usd(model, tokens_in, tokens_out)
        if cost is not None and self.spent_today_usd + cost > self._per_day_usd:
            return f"over budget: {self.spent_today_usd:.4f} of {self._per_day_usd} USD for today are spent"
        return ""

    def spend(self, incident_id: str, model: str, tokens_in: int, tokens_out: int, now: float) -> None:
        """Note a call that was made."""
        self._turn(now)
        self._tokens[incident_id] = self._tokens.pop(incident_id, 0) + tokens_in + tokens_out
        while len(self._tokens) > _MOST_INCIDENTS:
            self._tokens.popitem(last=False)
        self.spent_today_usd += cost_usd(model, tokens_in, tokens_out) or 0

    def _turn(self, now: float) -> None:
        """A new day begins at midnight UTC; a clock that jumps back does not refill the purse."""
        day = int(now // _DAY_S)
        if day > self._day:
            self._day = day
            self.spent_today_usd = Decimal(0)

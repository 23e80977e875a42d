"""The judgements of the scenarios. Pure: figures in, a Check out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.loadtest.figures import Check

if TYPE_CHECKING:
    from gateway.loadtest.figures import Recorder

DISTURBED = 2.0  # a p95 may double …
DISTURBED_MS = 50.0  # … or grow by so much, whichever is more: load shares the machine with its own gateway
FEWEST = 20  # answers below which a quantile says nothing
STRICTER = 0.9  # of what a limit allows must pass when more is asked for


def none_failed(seen: Recorder, name: str = "") -> Check:
    """Every request, or every one of this name, was answered as it should be."""
    if name:
        group = seen.group(name)
        requests, errors = group.requests, group.errors
    else:
        whole = seen.seen(()).whole
        requests, errors = whole.requests, whole.errors
    words = (
        f"every request ({name}) is answered as it should be" if name else "every request is answered as it should be"
    )
    worst = max(seen.error_texts, key=seen.error_texts.__getitem__, default="") if errors else ""
    detail = f"{errors} of {requests} failed" + (f"; most often: {worst}" if worst else "")
    return Check(words, errors == 0 and requests > 0, detail)


def quick_enough(seen: Recorder, name: str, at_most_ms: float) -> Check:
    """The p99 of a name stays below a bound."""
    found = seen.group(name).quantile_ms(0.99)
    detail = "nothing was answered" if found is None else f"{found:.1f} ms"
    return Check(f"99 of 100 are answered within {at_most_ms:g} ms", found is not None and found <= at_most_ms, detail)


def not_slower(seen: Recorder, before: str, after: str, words: str) -> Check:
    """The p95 of one name is not much above that of another."""
    first, second = seen.group(before), seen.group(after)
    base_ms, found_ms = first.quantile_ms(0.95), second.quantile_ms(0.95)
    if base_ms is None or found_ms is None or min(first.requests, second.requests) < FEWEST:
        detail = f"too few answers to say: {first.requests} {before}, {second.requests} {after}; run it for longer"
        return Check(words, held=False, detail=detail)
    bound_ms = max(base_ms * DISTURBED, base_ms + DISTURBED_MS)
    detail = f"p95 {found_ms:.1f} ms {after}, {base_ms:.1f} ms {before}; {bound_ms:.1f} ms may be"
    return Check(words, found_ms <= bound_ms, detail)


def kept_up(answered: int, offered: float) -> Check:
    """A gateway below saturation answers what is offered to it, as often as it is offered."""
    return Check("what is offered is answered", answered >= 0.9 * offered, f"{answered} of {offered:.0f} offered")


def within_limit(admitted: int, rate: float, burst: int, span_s: float) -> Check:
    """A token bucket lets no more pass than what was saved up and what came in since, in whole requests."""
    allowed = burst + rate * span_s
    detail = f"{admitted} passed in {span_s:.2f} s; {burst} + {rate:g}/s × {span_s:.2f} s = {allowed:.1f} may"
    return Check("no more pass than burst + rate × time", admitted <= allowed + 1, detail)


def not_stricter(admitted: int, asked: int, rate: float, burst: int, span_s: float) -> Check:
    """What the limit allows passes, when as much is asked for."""
    due = min(asked, burst + rate * span_s)
    detail = f"{admitted} of {due:.0f} passed"
    return Check("what the limit allows does pass", admitted >= STRICTER * due, detail)


def was_refused(refused: int) -> Check:
    """A storm that nothing is refused of proves nothing."""
    return Check("the limit was reached", refused > 0, f"{refused} refused")


def all_true(name: str, good: int, of: int) -> Check:
    """Something that must be so of each of them; none at all proves nothing."""
    return Check(name, good == of and of > 0, f"{good} of {of}")


def memory_bounded(rss_mib: tuple[float, float, float], at_most_mib: float) -> Check:
    """The workers hold windows of bodies, not bodies."""
    before, peak, _ = rss_mib
    detail = f"{before:.0f} MiB before, {peak:.0f} MiB at the peak; {at_most_mib:.0f} MiB more may be"
    return Check("the workers' memory stays bounded", peak - before <= at_most_mib, detail)

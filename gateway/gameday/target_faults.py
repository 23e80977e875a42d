"""Faults of one target, its siblings being well: drawn from chance, when it begins, and the share of noon's traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.incident import Place
from gateway.gameday import services
from gateway.gameday.effects import HANGS_S, Effect
from gateway.gameday.faults import (
    UNAVAILABLE,
    Fault,
    Right,
    any_target,
    deploy_of,
    ejection_of,
    lasts_s,
    per_target_s,
    percent,
    share_of,
)

if TYPE_CHECKING:
    import random


def target_errors(draw: random.Random, began: float, busy: float) -> Fault:
    """One target fails a share of its requests."""
    service, target = any_target(draw)
    share = share_of(draw, 0.15, busy, per_target_s(service))
    ended = began + lasts_s(draw)
    effect = Effect(service, began, ended, frozenset({target}), share=share, status=draw.choice((500, 503)))
    said = f"{target} of {service} fails {percent(share)} of its requests"
    cause = (Place(upstream=service, target=target),)
    return Fault("target-errors", said, began, ended, cause, ejection_of(service, target), (effect,))


def target_pool(draw: random.Random, began: float, busy: float) -> Fault:
    """One target loses its connection pool; its health check stays green."""
    service, target = "payments", draw.choice(services.target_names("payments"))
    ended = began + lasts_s(draw)
    effect = Effect(service, began, ended, frozenset({target}), share=0.97, status=503, add_s=0.25, ramp_s=4.0)
    said = f"{target} of payments has lost its connection pool"
    cause = (Place(upstream=service, target=target),)
    del busy
    return Fault("target-pool", said, began, ended, cause, ejection_of(service, target), (effect,))


def target_down(draw: random.Random, began: float, busy: float) -> Fault:
    """Nobody listens at one target."""
    service, target = any_target(draw)
    ended = began + lasts_s(draw)
    effect = Effect(service, began, ended, frozenset({target}), status=502, error=UNAVAILABLE, seen_by_health=True)
    del busy
    return Fault(
        "target-down",
        f"nobody listens at {target} of {service}",
        began,
        ended,
        (Place(upstream=service, target=target),),
        (*ejection_of(service, target), Right()),
        (effect,),
    )


def target_slow(draw: random.Random, began: float, busy: float) -> Fault:
    """One target is slow."""
    service, target = any_target(draw)
    share = share_of(draw, 0.4, busy, per_target_s(service))
    ended = began + lasts_s(draw)
    effect = Effect(
        service,
        began,
        ended,
        frozenset({target}),
        share=share,
        add_s=draw.uniform(0.15, 1.5),
        ramp_s=draw.uniform(0, 30),
    )
    said = f"{target} of {service} takes {effect.add_s * 1000:.0f} ms longer for {percent(share)} of its requests"
    cause = (Place(upstream=service, target=target),)
    return Fault("target-slow", said, began, ended, cause, ejection_of(service, target), (effect,))


def target_hangs(draw: random.Random, began: float, busy: float) -> Fault:
    """One target never answers a share of its requests."""
    service, target = any_target(draw)
    share = share_of(draw, 0.2, busy, per_target_s(service))
    ended = began + lasts_s(draw)
    effect = Effect(service, began, ended, frozenset({target}), share=share, add_s=HANGS_S)
    said = f"{target} of {service} never answers {percent(share)} of its requests"
    cause = (Place(upstream=service, target=target),)
    return Fault("target-hangs", said, began, ended, cause, ejection_of(service, target), (effect,))


def target_flaps(draw: random.Random, began: float, busy: float) -> Fault:
    """One target comes and goes."""
    service, target = any_target(draw)
    ended = began + draw.uniform(480, 900)
    period_s = draw.uniform(40, 90)
    effect = Effect(
        service,
        began,
        ended,
        frozenset({target}),
        share=share_of(draw, 0.6, busy, per_target_s(service)),
        status=503,
        period_s=period_s,
        duty=draw.uniform(0.4, 0.7),
    )
    said = f"{target} of {service} comes and goes every {period_s:.0f} s"
    cause = (Place(upstream=service, target=target),)
    return Fault("target-flaps", said, began, ended, cause, ejection_of(service, target), (effect,))


def leak(draw: random.Random, began: float, busy: float) -> Fault:
    """One target gets slower over half an hour."""
    service, target = any_target(draw)
    ramp_s = draw.uniform(1200, 2400)
    ended = began + ramp_s + 600
    effect = Effect(
        service, began, ended, frozenset({target}), share=0.9, factor=draw.uniform(15, 60), add_s=0.1, ramp_s=ramp_s
    )
    del busy
    return Fault(
        "gradual-leak",
        f"{target} of {service} gets slower for {ramp_s / 60:.0f} min, {effect.factor:.0f} times in the end",
        began,
        ended,
        (Place(upstream=service, target=target),),
        ejection_of(service, target),
        (effect,),
    )


def bad_canary(draw: random.Random, began: float, busy: float) -> Fault:
    """A new version at one target fails."""
    service, target = any_target(draw)
    share = share_of(draw, 0.3, busy, per_target_s(service))
    ended = began + lasts_s(draw)
    effect = Effect(service, began, ended, frozenset({target}), share=share, status=500)
    said = f"a new version at {target} of {service} alone fails {percent(share)}"
    return Fault(
        "bad-canary", said, began, ended, (Place(upstream=service, target=target),),
        ejection_of(service, target), (effect,),
        changes=(deploy_of(service, began - draw.uniform(2, 20)),),
    )  # fmt: skip


def cascade(draw: random.Random, began: float, busy: float) -> Fault:
    """Payments fails at one target; orders and, over it, checkout fail with it."""
    target = draw.choice(services.target_names("payments"))
    share = share_of(draw, 0.5, busy, per_target_s("payments"))
    ended = began + lasts_s(draw)
    effect = Effect("payments", began, ended, frozenset({target}), share=share, status=500, add_s=draw.uniform(0, 0.5))
    said = f"{target} of payments fails {percent(share)}; orders and checkout fail with it"
    cause = (Place(upstream="payments", target=target),)
    return Fault("cascade", said, began, ended, cause, ejection_of("payments", target), (effect,))

"""Faults of whole services, routes, callers and of the gateway's surroundings, drawn as those of targets are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.incident import Place
from gateway.domain.plan import ActionKind
from gateway.gameday import services
from gateway.gameday.effects import Effect, Flow
from gateway.gameday.faults import (
    PEAK_PER_S,
    SERVICES,
    UNAVAILABLE,
    Fault,
    Right,
    deploy_of,
    lasts_s,
    per_target_s,
    percent,
    share_of,
)

if TYPE_CHECKING:
    import random


def service_errors(draw: random.Random, began: float, busy: float) -> Fault:
    """A whole service fails a share of its requests."""
    service = draw.choice(SERVICES)
    share = share_of(draw, 0.15, busy, PEAK_PER_S[service])
    ended = began + lasts_s(draw)
    effect = Effect(service, began, ended, share=share, status=draw.choice((500, 503)))
    said = f"all of {service} fails {percent(share)} of its requests"
    return Fault("service-errors", said, began, ended, (Place(upstream=service),), (Right(),), (effect,))


def certificate(draw: random.Random, began: float, busy: float) -> Fault:
    """A service's certificate has expired."""
    service = draw.choice(SERVICES)
    ended = began + lasts_s(draw)
    effect = Effect(service, began, ended, status=502, error=UNAVAILABLE, seen_by_health=True)
    del busy
    said = f"the certificate of {service} has expired: no target can be reached"
    return Fault("certificate", said, began, ended, (Place(upstream=service),), (Right(),), (effect,))


def slow_database(draw: random.Random, began: float, busy: float) -> Fault:
    """A service's database is slow."""
    service = draw.choice(("payments", "catalog"))
    ended = began + lasts_s(draw)
    effect = Effect(
        service, began, ended, share=draw.uniform(0.5, 1.0), add_s=draw.uniform(0.15, 1.2), ramp_s=draw.uniform(10, 120)
    )
    del busy
    said = f"the database of {service} is slow: {effect.add_s * 1000:.0f} ms more for {percent(effect.share)}"
    return Fault("slow-database", said, began, ended, (Place(upstream=service),), (Right(),), (effect,))


def bad_deploy(draw: random.Random, began: float, busy: float) -> Fault:
    """A deploy breaks a service target by target."""
    service = draw.choice(SERVICES)
    names = list(services.target_names(service))
    draw.shuffle(names)
    share = share_of(draw, 0.25, busy, per_target_s(service))
    ended = began + lasts_s(draw)
    gap_s = draw.uniform(2, 8)
    effects = tuple(
        Effect(service, began + number * gap_s, ended, frozenset({name}), share=share, status=500)
        for number, name in enumerate(names)
    )
    change = deploy_of(service, began - draw.uniform(2, 20))
    said = f"a deploy of {service} fails {percent(share)} of its requests"
    return Fault(
        "bad-deploy", said, began, ended, (Place(upstream=service),), (Right(), Right("run_outside", service)), effects,
        changes=(change,),
    )  # fmt: skip


def cascade_slow(draw: random.Random, began: float, busy: float) -> Fault:
    """Payments is slow as a whole; orders and checkout wait for it."""
    ended = began + lasts_s(draw)
    effect = Effect(
        "payments", began, ended, share=draw.uniform(0.6, 1.0), add_s=draw.uniform(0.5, 3.0), ramp_s=draw.uniform(0, 20)
    )
    del busy
    said = f"payments takes {effect.add_s:.1f} s longer; orders and checkout wait for it"
    return Fault("cascade-slow", said, began, ended, (Place(upstream="payments"),), (Right(),), (effect,))


def one_tenant(draw: random.Random, began: float, busy: float) -> Fault:
    """One tenant's requests fail."""
    service, route = draw.choice((("payments", "payments"), ("orders", "orders"), ("catalog", "items")))
    tenant, part = draw.choice(services.TENANTS[:4])
    share = share_of(draw, 0.4, busy, PEAK_PER_S[service] * part)
    ended = began + lasts_s(draw)
    effect = Effect(service, began, ended, route=route, tenant=tenant, share=share, status=500)
    said = f"{service} fails {percent(share)} of what tenant {tenant} asks on route {route}"
    causes = (Place(upstream=service, tenant=tenant), Place(upstream=service, route=route, tenant=tenant))
    return Fault("one-tenant", said, began, ended, causes, (Right(),), (effect,))


def one_route(draw: random.Random, began: float, busy: float) -> Fault:
    """One route of a service fails, the other is well."""
    route, per_s = draw.choice((("items", 17.0), ("search", 4.0)))
    share = share_of(draw, 0.3, busy, per_s)
    ended = began + lasts_s(draw)
    effect = Effect("catalog", began, ended, route=route, share=share, status=500)
    said = f"route {route} fails {percent(share)}, the other route of catalog is well"
    return Fault("one-route", said, began, ended, (Place(upstream="catalog", route=route),), (Right(),), (effect,))


def slow_route(draw: random.Random, began: float, busy: float) -> Fault:
    """One route of a service is slow."""
    route = draw.choice(("items", "search"))
    ended = began + lasts_s(draw)
    effect = Effect(
        "catalog", began, ended, route=route, share=draw.uniform(0.5, 1.0), add_s=draw.uniform(0.2, 1.5), ramp_s=5.0
    )
    del busy
    said = f"route {route} takes {effect.add_s * 1000:.0f} ms longer for {percent(effect.share)}"
    return Fault("slow-route", said, began, ended, (Place(upstream="catalog", route=route),), (Right(),), (effect,))


def config_error(draw: random.Random, began: float, busy: float) -> Fault:
    """A new configuration sends a service's requests to a port where nobody listens, or gives it no time to answer."""
    service = draw.choice(SERVICES)
    port = services.target_names(service)[0].rpartition(":")[2]
    block = services.CONFIG.index(f'name = "{service}"')
    before, after = services.CONFIG[:block], services.CONFIG[block:]
    if draw.random() < 0.5:  # noqa: PLR2004 - one or the other
        said = f"a configuration revision sends {service} to port 1{port}"
        line, _, rest = after.partition("health")
        after = f"{line.replace(f':{port}', f':1{port}')}health{rest}"
    else:
        said = f"a configuration revision gives {service} 10 ms to answer"
        after = after.replace("health", 'timeout = { header = "10ms" }\nhealth', 1)
    del busy
    ended = began + lasts_s(draw)
    right = (Right(ActionKind.ROLL_BACK),)
    return Fault("config-error", said, began, ended, (Place(upstream=service),), right, revision=before + after)


def traffic_drop(draw: random.Random, began: float, busy: float) -> Fault:
    """Most callers are gone."""
    ended = began + draw.uniform(600, 900)
    left = draw.uniform(0.02, 0.25)
    del busy
    said = f"{percent(1 - left)} of all callers are gone"
    return Fault("traffic-drop", said, began, ended, (Place(),), (Right(),), flows=(Flow(began, ended, times=left),))


def abusive_client(draw: random.Random, began: float, busy: float) -> Fault:
    """One caller asks so much that the service cannot keep up."""
    route, service = draw.choice((("orders", "orders"), ("search", "catalog"), ("items", "catalog")))
    tenant = draw.choice(services.TENANTS)[0]
    caller = draw.choice(services.CALLERS[tenant])
    capacity = services.WORK[service].capacity * len(services.target_names(service))
    if route == "orders":
        service, capacity = "payments", services.WORK["payments"].capacity * 2
    extra = capacity * draw.uniform(1.05, 1.8) - PEAK_PER_S[service] * busy
    ended = began + lasts_s(draw)
    flow = Flow(began, ended, route=route, extra_per_s=extra, caller=(caller.tenant, caller.subject, caller.client))
    said = f"{caller.subject} of {tenant} asks {extra:.0f} times a second on route {route}; the services cannot keep up"
    names = dict.fromkeys((service, "orders" if route == "orders" else "catalog"))
    causes = tuple(
        place
        for name in names
        for place in (Place(upstream=name, tenant=tenant), Place(upstream=name, route=route, tenant=tenant))
    )
    right = tuple(
        Right(kind, name) for kind in (ActionKind.LIMIT_CALLER, ActionKind.BLOCK_CALLER) for name in (*names, "")
    )
    return Fault("abusive-client", said, began, ended, (*causes, Place(tenant=tenant)), right, flows=(flow,))


def redis_loss(draw: random.Random, began: float, busy: float) -> Fault:
    """The limiter's Redis is away: most routes count on their own, one refuses everybody, as it was told to."""
    ended = began + lasts_s(draw)
    del busy
    said = "the limiter's Redis is away; payments refuses everybody while it is"
    flows = (Flow(began, ended, without_redis=True),)
    return Fault("redis-loss", said, began, ended, (Place(part="redis"),), (Right(),), flows=flows)


def retry_storm(draw: random.Random, began: float, busy: float) -> Fault:
    """Payments fails for a while as a whole, and every caller asks again at once, three times."""
    share = share_of(draw, 0.4, busy, PEAK_PER_S["payments"])
    ended = began + lasts_s(draw)
    effect = Effect("payments", began, ended, share=share, status=503)
    said = f"payments fails {percent(share)} and everybody asks again up to three times"
    right = (Right(), Right(ActionKind.SHED_LOAD), Right(ActionKind.OPEN_CIRCUIT, "payments"))
    flows = (Flow(began, ended + 30, retries=3),)
    return Fault("retry-storm", said, began, ended, (Place(upstream="payments"),), right, (effect,), flows)

"""The faults: where they may strike, how they are drawn, what their cause is called, and what to do about each.

The right answer stands here before anything is run, with its reason. "None" means: nothing that the gateway can do by
itself mends this, so it must tell a person and leave the traffic alone. Sizes are drawn down to what a person would
still call an incident: at least :data:`FLOOR_PER_MIN` requests hurt a minute, and at least :data:`FLOOR_SHARE` of those
at the place where it strikes. Pure but for the chance that is passed in.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from gateway.domain.incident import Change, Place
from gateway.domain.plan import ActionKind
from gateway.gameday import services
from gateway.gameday.effects import HANGS_S, Effect, Flow

FLOOR_SHARE = 0.1
FLOOR_PER_MIN = 10.0
NONE = ""  # the right action where a person has to act

_UNAVAILABLE = "upstream_unavailable"
_SERVICES = tuple(services.WORK)
_PEAK_PER_S = {"checkout": 3.0, "orders": 9.0, "payments": 9.0, "catalog": 24.0}  # callees' included


class Right(msgspec.Struct, frozen=True):
    """An action that is right: its kind (empty: none at all), and what it must be about."""

    kind: str = NONE
    upstream: str = ""
    target: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind or "tell a person", self.upstream, self.target) if part)


class Fault(msgspec.Struct, frozen=True):
    """One fault, drawn: what it does, when, and what is right to say and do. Times are seconds since the epoch."""

    kind: str
    said: str  # for people
    began: float
    ended: float
    causes: tuple[Place, ...]  # naming any of them is right
    right: tuple[Right, ...]  # any of them is right
    effects: tuple[Effect, ...] = ()
    flows: tuple[Flow, ...] = ()
    changes: tuple[Change, ...] = ()
    revision: str = ""  # a configuration that somebody applies then


class Kind(msgspec.Struct, frozen=True):
    """One row of the catalogue."""

    name: str
    title: str
    hard: bool  # from the first second on most requests at the place fail
    right: tuple[str, ...]  # kinds of action; "tell a person" where none is
    why: str  # that is right
    draw: Callable[[random.Random, float, float], Fault]  # chance, when it begins, share of noon's traffic


def _target(draw: random.Random) -> tuple[str, str]:
    service = draw.choice(_SERVICES)
    return service, draw.choice(services.target_names(service))


def _share(draw: random.Random, least: float, busy: float, per_s: float) -> float:
    """A share between the least a person would mind and all, small ones as likely as large ones."""
    floor = max(least, FLOOR_SHARE, FLOOR_PER_MIN / 60 / max(1e-9, per_s * busy))
    return min(1.0, max(floor, float(floor ** draw.random())))


def _per_target(service: str) -> float:
    return _PEAK_PER_S[service] / len(services.target_names(service))


def _lasts(draw: random.Random) -> float:
    return draw.uniform(240, 720)


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _eject(service: str, target: str) -> tuple[Right, ...]:
    return (Right(ActionKind.EJECT_TARGET, service, target),)


def _target_errors(draw: random.Random, began: float, busy: float) -> Fault:
    service, target = _target(draw)
    share = _share(draw, 0.15, busy, _per_target(service))
    ended = began + _lasts(draw)
    effect = Effect(service, began, ended, frozenset({target}), share=share, status=draw.choice((500, 503)))
    said = f"{target} of {service} fails {_percent(share)} of its requests"
    cause = (Place(upstream=service, target=target),)
    return Fault("target-errors", said, began, ended, cause, _eject(service, target), (effect,))


def _target_pool(draw: random.Random, began: float, busy: float) -> Fault:
    service, target = "payments", draw.choice(services.target_names("payments"))
    ended = began + _lasts(draw)
    effect = Effect(service, began, ended, frozenset({target}), share=0.97, status=503, add_s=0.25, ramp_s=4.0)
    said = f"{target} of payments has lost its connection pool"
    cause = (Place(upstream=service, target=target),)
    del busy
    return Fault("target-pool", said, began, ended, cause, _eject(service, target), (effect,))


def _target_down(draw: random.Random, began: float, busy: float) -> Fault:
    service, target = _target(draw)
    ended = began + _lasts(draw)
    effect = Effect(service, began, ended, frozenset({target}), status=502, error=_UNAVAILABLE, seen_by_health=True)
    del busy
    return Fault(
        "target-down",
        f"nobody listens at {target} of {service}",
        began,
        ended,
        (Place(upstream=service, target=target),),
        (*_eject(service, target), Right()),
        (effect,),
    )


def _target_slow(draw: random.Random, began: float, busy: float) -> Fault:
    service, target = _target(draw)
    share = _share(draw, 0.4, busy, _per_target(service))
    ended = began + _lasts(draw)
    effect = Effect(
        service,
        began,
        ended,
        frozenset({target}),
        share=share,
        add_s=draw.uniform(0.15, 1.5),
        ramp_s=draw.uniform(0, 30),
    )
    said = f"{target} of {service} takes {effect.add_s * 1000:.0f} ms longer for {_percent(share)} of its requests"
    cause = (Place(upstream=service, target=target),)
    return Fault("target-slow", said, began, ended, cause, _eject(service, target), (effect,))


def _target_hangs(draw: random.Random, began: float, busy: float) -> Fault:
    service, target = _target(draw)
    share = _share(draw, 0.2, busy, _per_target(service))
    ended = began + _lasts(draw)
    effect = Effect(service, began, ended, frozenset({target}), share=share, add_s=HANGS_S)
    said = f"{target} of {service} never answers {_percent(share)} of its requests"
    cause = (Place(upstream=service, target=target),)
    return Fault("target-hangs", said, began, ended, cause, _eject(service, target), (effect,))


def _target_flaps(draw: random.Random, began: float, busy: float) -> Fault:
    service, target = _target(draw)
    ended = began + draw.uniform(480, 900)
    period_s = draw.uniform(40, 90)
    effect = Effect(
        service,
        began,
        ended,
        frozenset({target}),
        share=_share(draw, 0.6, busy, _per_target(service)),
        status=503,
        period_s=period_s,
        duty=draw.uniform(0.4, 0.7),
    )
    said = f"{target} of {service} comes and goes every {period_s:.0f} s"
    cause = (Place(upstream=service, target=target),)
    return Fault("target-flaps", said, began, ended, cause, _eject(service, target), (effect,))


def _leak(draw: random.Random, began: float, busy: float) -> Fault:
    service, target = _target(draw)
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
        _eject(service, target),
        (effect,),
    )


def _service_errors(draw: random.Random, began: float, busy: float) -> Fault:
    service = draw.choice(_SERVICES)
    share = _share(draw, 0.15, busy, _PEAK_PER_S[service])
    ended = began + _lasts(draw)
    effect = Effect(service, began, ended, share=share, status=draw.choice((500, 503)))
    said = f"all of {service} fails {_percent(share)} of its requests"
    return Fault("service-errors", said, began, ended, (Place(upstream=service),), (Right(),), (effect,))


def _certificate(draw: random.Random, began: float, busy: float) -> Fault:
    service = draw.choice(_SERVICES)
    ended = began + _lasts(draw)
    effect = Effect(service, began, ended, status=502, error=_UNAVAILABLE, seen_by_health=True)
    del busy
    said = f"the certificate of {service} has expired: no target can be reached"
    return Fault("certificate", said, began, ended, (Place(upstream=service),), (Right(),), (effect,))


def _slow_database(draw: random.Random, began: float, busy: float) -> Fault:
    service = draw.choice(("payments", "catalog"))
    ended = began + _lasts(draw)
    effect = Effect(
        service, began, ended, share=draw.uniform(0.5, 1.0), add_s=draw.uniform(0.15, 1.2), ramp_s=draw.uniform(10, 120)
    )
    del busy
    said = f"the database of {service} is slow: {effect.add_s * 1000:.0f} ms more for {_percent(effect.share)}"
    return Fault("slow-database", said, began, ended, (Place(upstream=service),), (Right(),), (effect,))


def _bad_deploy(draw: random.Random, began: float, busy: float) -> Fault:
    service = draw.choice(_SERVICES)
    names = list(services.target_names(service))
    draw.shuffle(names)
    share = _share(draw, 0.25, busy, _per_target(service))
    ended = began + _lasts(draw)
    gap_s = draw.uniform(2, 8)
    effects = tuple(
        Effect(service, began + number * gap_s, ended, frozenset({name}), share=share, status=500)
        for number, name in enumerate(names)
    )
    change = _deploy(service, began - draw.uniform(2, 20))
    said = f"a deploy of {service} fails {_percent(share)} of its requests"
    return Fault(
        "bad-deploy", said, began, ended, (Place(upstream=service),), (Right(), Right("run_outside", service)), effects,
        changes=(change,),
    )  # fmt: skip


def _bad_canary(draw: random.Random, began: float, busy: float) -> Fault:
    service, target = _target(draw)
    share = _share(draw, 0.3, busy, _per_target(service))
    ended = began + _lasts(draw)
    effect = Effect(service, began, ended, frozenset({target}), share=share, status=500)
    said = f"a new version at {target} of {service} alone fails {_percent(share)}"
    return Fault(
        "bad-canary", said, began, ended, (Place(upstream=service, target=target),), _eject(service, target), (effect,),
        changes=(_deploy(service, began - draw.uniform(2, 20)),),
    )  # fmt: skip


def _deploy(service: str, at: float) -> Change:
    return Change(at, "deploy", f"{service} deployed", "", "pipeline", Place(upstream=service))


def _cascade(draw: random.Random, began: float, busy: float) -> Fault:
    """Payments fails at one target; orders and, over it, checkout fail with it."""
    target = draw.choice(services.target_names("payments"))
    share = _share(draw, 0.5, busy, _per_target("payments"))
    ended = began + _lasts(draw)
    effect = Effect("payments", began, ended, frozenset({target}), share=share, status=500, add_s=draw.uniform(0, 0.5))
    said = f"{target} of payments fails {_percent(share)}; orders and checkout fail with it"
    cause = (Place(upstream="payments", target=target),)
    return Fault("cascade", said, began, ended, cause, _eject("payments", target), (effect,))


def _cascade_slow(draw: random.Random, began: float, busy: float) -> Fault:
    """Payments is slow as a whole; orders and checkout wait for it."""
    ended = began + _lasts(draw)
    effect = Effect(
        "payments", began, ended, share=draw.uniform(0.6, 1.0), add_s=draw.uniform(0.5, 3.0), ramp_s=draw.uniform(0, 20)
    )
    del busy
    said = f"payments takes {effect.add_s:.1f} s longer; orders and checkout wait for it"
    return Fault("cascade-slow", said, began, ended, (Place(upstream="payments"),), (Right(),), (effect,))


def _one_tenant(draw: random.Random, began: float, busy: float) -> Fault:
    service, route = draw.choice((("payments", "payments"), ("orders", "orders"), ("catalog", "items")))
    tenant, part = draw.choice(services.TENANTS[:4])
    share = _share(draw, 0.4, busy, _PEAK_PER_S[service] * part)
    ended = began + _lasts(draw)
    effect = Effect(service, began, ended, route=route, tenant=tenant, share=share, status=500)
    said = f"{service} fails {_percent(share)} of what tenant {tenant} asks on route {route}"
    causes = (Place(upstream=service, tenant=tenant), Place(upstream=service, route=route, tenant=tenant))
    return Fault("one-tenant", said, began, ended, causes, (Right(),), (effect,))


def _one_route(draw: random.Random, began: float, busy: float) -> Fault:
    route, per_s = draw.choice((("items", 17.0), ("search", 4.0)))
    share = _share(draw, 0.3, busy, per_s)
    ended = began + _lasts(draw)
    effect = Effect("catalog", began, ended, route=route, share=share, status=500)
    said = f"route {route} fails {_percent(share)}, the other route of catalog is well"
    return Fault("one-route", said, began, ended, (Place(upstream="catalog", route=route),), (Right(),), (effect,))


def _slow_route(draw: random.Random, began: float, busy: float) -> Fault:
    route = draw.choice(("items", "search"))
    ended = began + _lasts(draw)
    effect = Effect(
        "catalog", began, ended, route=route, share=draw.uniform(0.5, 1.0), add_s=draw.uniform(0.2, 1.5), ramp_s=5.0
    )
    del busy
    said = f"route {route} takes {effect.add_s * 1000:.0f} ms longer for {_percent(effect.share)}"
    return Fault("slow-route", said, began, ended, (Place(upstream="catalog", route=route),), (Right(),), (effect,))


def _config_error(draw: random.Random, began: float, busy: float) -> Fault:
    """A new configuration sends a service's requests to a port where nobody listens, or gives it no time to answer."""
    service = draw.choice(_SERVICES)
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
    ended = began + _lasts(draw)
    right = (Right(ActionKind.ROLL_BACK),)
    return Fault("config-error", said, began, ended, (Place(upstream=service),), right, revision=before + after)


def _traffic_drop(draw: random.Random, began: float, busy: float) -> Fault:
    ended = began + draw.uniform(600, 900)
    left = draw.uniform(0.02, 0.25)
    del busy
    said = f"{_percent(1 - left)} of all callers are gone"
    return Fault("traffic-drop", said, began, ended, (Place(),), (Right(),), flows=(Flow(began, ended, times=left),))


def _abusive_client(draw: random.Random, began: float, busy: float) -> Fault:
    """One caller asks so much that the service cannot keep up."""
    route, service = draw.choice((("orders", "orders"), ("search", "catalog"), ("items", "catalog")))
    tenant = draw.choice(services.TENANTS)[0]
    caller = draw.choice(services.CALLERS[tenant])
    capacity = services.WORK[service].capacity * len(services.target_names(service))
    if route == "orders":
        service, capacity = "payments", services.WORK["payments"].capacity * 2
    extra = capacity * draw.uniform(1.05, 1.8) - _PEAK_PER_S[service] * busy
    ended = began + _lasts(draw)
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


def _redis_loss(draw: random.Random, began: float, busy: float) -> Fault:
    """The limiter's Redis is away: most routes count on their own, one refuses everybody, as it was told to."""
    ended = began + _lasts(draw)
    del busy
    said = "the limiter's Redis is away; payments refuses everybody while it is"
    flows = (Flow(began, ended, without_redis=True),)
    return Fault("redis-loss", said, began, ended, (Place(part="redis"),), (Right(),), flows=flows)


def _retry_storm(draw: random.Random, began: float, busy: float) -> Fault:
    """Payments fails for a while as a whole, and every caller asks again at once, three times."""
    share = _share(draw, 0.4, busy, _PEAK_PER_S["payments"])
    ended = began + _lasts(draw)
    effect = Effect("payments", began, ended, share=share, status=503)
    said = f"payments fails {_percent(share)} and everybody asks again up to three times"
    right = (Right(), Right(ActionKind.SHED_LOAD), Right(ActionKind.OPEN_CIRCUIT, "payments"))
    flows = (Flow(began, ended + 30, retries=3),)
    return Fault("retry-storm", said, began, ended, (Place(upstream="payments"),), right, (effect,), flows)


_TELL_ONLY = ("tell a person",)
_EJECTION = ("eject_target",)
_EJECT = "its siblings are well and can take over; the target is tried again until it is well"
_TELL = "every target is hurt alike: nothing in the gateway mends it, and taking targets out would only harm"

CATALOGUE: tuple[Kind, ...] = (
    Kind("target-errors", "One target fails a share of its requests", False, _EJECTION, _EJECT, _target_errors),
    Kind(
        "target-pool",
        "One target loses its connection pool; its health check stays green",
        True,
        _EJECTION,
        _EJECT,
        _target_pool,
    ),
    Kind(
        "target-down",
        "Nobody listens at one target",
        True,
        ("eject_target", "tell a person"),
        "either the health checks take it out, or the incident does: whoever is first",
        _target_down,
    ),
    Kind("target-slow", "One target is slow", False, _EJECTION, _EJECT, _target_slow),
    Kind("target-hangs", "One target never answers a share of its requests", False, _EJECTION, _EJECT, _target_hangs),
    Kind("target-flaps", "One target comes and goes", False, _EJECTION, _EJECT, _target_flaps),
    Kind("gradual-leak", "One target gets slower over half an hour", False, _EJECTION, _EJECT, _leak),
    Kind("bad-canary", "A new version at one target fails", False, _EJECTION, _EJECT, _bad_canary),
    Kind(
        "bad-deploy",
        "A deploy breaks a service target by target",
        False,
        ("tell a person", "run_outside"),
        "only the deploy tool can take the version back; ejecting targets takes away what is left",
        _bad_deploy,
    ),
    Kind("service-errors", "A whole service fails a share of its requests", False, _TELL_ONLY, _TELL, _service_errors),
    Kind("certificate", "A service's certificate has expired", True, _TELL_ONLY, _TELL, _certificate),
    Kind("slow-database", "A service's database is slow", False, _TELL_ONLY, _TELL, _slow_database),
    Kind("cascade", "One target fails, and two services above it fail with it", True, _EJECTION, _EJECT, _cascade),
    Kind("cascade-slow", "A service is slow, and two services above it wait", False, _TELL_ONLY, _TELL, _cascade_slow),
    Kind(
        "one-tenant",
        "One tenant's requests fail",
        False,
        _TELL_ONLY,
        "blocking a tenant because its requests fail finishes what the fault began",
        _one_tenant,
    ),
    Kind("one-route", "One route of a service fails, the other is well", False, _TELL_ONLY, _TELL, _one_route),
    Kind("slow-route", "One route of a service is slow", False, _TELL_ONLY, _TELL, _slow_route),
    Kind(
        "redis-loss",
        "The limiter's Redis is away",
        True,
        _TELL_ONLY,
        "what each route does meanwhile was decided beforehand; only somebody who mends Redis helps",
        _redis_loss,
    ),
    Kind(
        "config-error",
        "A new configuration breaks a service",
        True,
        ("roll_back",),
        "the configuration before is known to have worked, and going back is one revision",
        _config_error,
    ),
    Kind(
        "traffic-drop",
        "Most callers are gone",
        False,
        _TELL_ONLY,
        "who does not come cannot be helped by the gateway: somebody has to look at what lies before it",
        _traffic_drop,
    ),
    Kind(
        "abusive-client",
        "One caller asks more than the services can bear",
        False,
        ("limit_caller", "block_caller"),
        "limiting or blocking the one caller gives everybody else their service back",
        _abusive_client,
    ),
    Kind(
        "retry-storm",
        "A service fails and its callers ask again at once",
        False,
        ("tell a person", "shed_load", "open_circuit"),
        "shedding a share or opening the circuit lets it catch up; doing nothing does no harm",
        _retry_storm,
    ),
)
BY_NAME = {kind.name: kind for kind in CATALOGUE}

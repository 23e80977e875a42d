"""The catalogue: every fault of a game day, what to do about it, and why that is right.

"Tell a person" means: nothing that the gateway can do by itself mends this, so it must say so and leave the traffic
alone.
"""

from __future__ import annotations

from gateway.gameday import service_faults as at_services
from gateway.gameday import target_faults as at_targets
from gateway.gameday.faults import Kind

_TELL_ONLY = ("tell a person",)
_EJECTION = ("eject_target",)
_EJECT = "its siblings are well and can take over; the target is tried again until it is well"
_TELL = "every target is hurt alike: nothing in the gateway mends it, and taking targets out would only harm"

CATALOGUE: tuple[Kind, ...] = (
    Kind(
        "target-errors",
        "One target fails a share of its requests",
        False,
        _EJECTION,
        _EJECT,
        at_targets.target_errors,
    ),
    Kind(
        "target-pool",
        "One target loses its connection pool; its health check stays green",
        True,
        _EJECTION,
        _EJECT,
        at_targets.target_pool,
    ),
    Kind(
        "target-down",
        "Nobody listens at one target",
        True,
        ("eject_target", "tell a person"),
        "either the health checks take it out, or the incident does: whoever is first",
        at_targets.target_down,
    ),
    Kind("target-slow", "One target is slow", False, _EJECTION, _EJECT, at_targets.target_slow),
    Kind(
        "target-hangs",
        "One target never answers a share of its requests",
        False,
        _EJECTION,
        _EJECT,
        at_targets.target_hangs,
    ),
    Kind("target-flaps", "One target comes and goes", False, _EJECTION, _EJECT, at_targets.target_flaps),
    Kind("gradual-leak", "One target gets slower over half an hour", False, _EJECTION, _EJECT, at_targets.leak),
    Kind("bad-canary", "A new version at one target fails", False, _EJECTION, _EJECT, at_targets.bad_canary),
    Kind(
        "bad-deploy",
        "A deploy breaks a service target by target",
        False,
        ("tell a person", "run_outside"),
        "only the deploy tool can take the version back; ejecting targets takes away what is left",
        at_services.bad_deploy,
    ),
    Kind(
        "service-errors",
        "A whole service fails a share of its requests",
        False,
        _TELL_ONLY,
        _TELL,
        at_services.service_errors,
    ),
    Kind("certificate", "A service's certificate has expired", True, _TELL_ONLY, _TELL, at_services.certificate),
    Kind("slow-database", "A service's database is slow", False, _TELL_ONLY, _TELL, at_services.slow_database),
    Kind(
        "cascade",
        "One target fails, and two services above it fail with it",
        True,
        _EJECTION,
        _EJECT,
        at_targets.cascade,
    ),
    Kind(
        "cascade-slow",
        "A service is slow, and two services above it wait",
        False,
        _TELL_ONLY,
        _TELL,
        at_services.cascade_slow,
    ),
    Kind(
        "one-tenant",
        "One tenant's requests fail",
        False,
        _TELL_ONLY,
        "blocking a tenant because its requests fail finishes what the fault began",
        at_services.one_tenant,
    ),
    Kind(
        "one-route",
        "One route of a service fails, the other is well",
        False,
        _TELL_ONLY,
        _TELL,
        at_services.one_route,
    ),
    Kind("slow-route", "One route of a service is slow", False, _TELL_ONLY, _TELL, at_services.slow_route),
    Kind(
        "redis-loss",
        "The limiter's Redis is away",
        True,
        _TELL_ONLY,
        "what each route does meanwhile was decided beforehand; only somebody who mends Redis helps",
        at_services.redis_loss,
    ),
    Kind(
        "config-error",
        "A new configuration breaks a service",
        True,
        ("roll_back",),
        "the configuration before is known to have worked, and going back is one revision",
        at_services.config_error,
    ),
    Kind(
        "traffic-drop",
        "Most callers are gone",
        False,
        _TELL_ONLY,
        "who does not come cannot be helped by the gateway: somebody has to look at what lies before it",
        at_services.traffic_drop,
    ),
    Kind(
        "abusive-client",
        "One caller asks more than the services can bear",
        False,
        ("limit_caller", "block_caller"),
        "limiting or blocking the one caller gives everybody else their service back",
        at_services.abusive_client,
    ),
    Kind(
        "retry-storm",
        "A service fails and its callers ask again at once",
        False,
        ("tell a person", "shed_load", "open_circuit"),
        "shedding a share or opening the circuit lets it catch up; doing nothing does no harm",
        at_services.retry_storm,
    ),
)
BY_NAME = {kind.name: kind for kind in CATALOGUE}

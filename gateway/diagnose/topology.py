"""Which service: a caller's trouble is its own only as far as its callees do not explain it (excess conservation).

For each upstream, with q requests and badness r (share of failures, or mean seconds) now and b before:
excess E = (r − b)·q: extra failures, or extra seconds. Self excess s = E − Σ over anomalous callees v of
E_v · q / Σ (requests of v's callers). Requests that go straight to v are in E_v as well, so the subtraction is
capped at what the callee could have passed on.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.domain.topology import Topology

ANOMALOUS_Z = 3.0
_LEAST_SHARE = 0.002  # a service that never failed still has this much uncertainty
_LEAST_CHANGE = 0.03  # of the usual mean latency counts as its spread
UNREACHED = 0.5  # weight of a service that no known call leads to; the best on labelled cases with unseen calls
_CALM = 0.1  # weight of a service whose excess may be chance
# An undeclared callee must be in as much trouble of its own as this share of the caller's. Then either it is called, or
# two things went wrong at once in the same measure: the former is likelier, so both change places.
_MATCHES = 0.8
_CALLED = 0.9
_COULD_BE_EXPLAINED = 0.5
_EXPLAINED = 0.5  # of the caller's excess; from there on it is a victim


class Load(msgspec.Struct, frozen=True):
    """One service's traffic: requests, and failures or seconds, now and before."""

    requests: float
    badness: float  # failures, or seconds
    requests_before: float
    badness_before: float
    spread: float = 0.0  # standard deviation of badness per request between minutes of the time before, where known


class Blame(msgspec.Struct, frozen=True):
    """How much of a service's excess is its own."""

    upstream: str
    excess: float
    own: float  # what its callees do not explain, at least 0
    z: float
    explained_by: tuple[str, ...] = ()  # callees that explain at least half of it, the largest first
    novel: bool = False  # without a past, so never a candidate and never subtracted
    undeclared: tuple[str, ...] = ()  # services no known call joins to this one that could explain it all the same

    @property
    def victim(self) -> bool:
        """Hurt by its callees rather than broken itself."""
        return bool(self.explained_by)


def blame(loads: Mapping[str, Load], topology: Topology, *, latency: bool = False) -> tuple[Blame, ...]:
    """Every service with an excess, the one to blame first. ``latency``: badness is seconds instead of failures."""
    excess = {name: _excess(load) for name, load in loads.items()}
    z = {name: _z(load, latency=latency) for name, load in loads.items()}
    found = []
    for name, load in loads.items():
        if excess[name] <= 0 or load.requests <= 0:
            continue
        passed_on = {
            callee: _passed_on(name, callee, loads, excess, topology)
            for callee in topology.depends_on.get(name, ())
            if callee in loads
            and callee != name
            and loads[callee].requests_before > 0
            and excess[callee] > 0
            and z[callee] > ANOMALOUS_Z
        }
        own = max(0.0, excess[name] - sum(passed_on.values()))
        explained = 1 - own / excess[name]
        explained_by = sorted(passed_on, key=lambda callee: -passed_on[callee]) if explained >= _EXPLAINED else []
        novel = load.requests_before <= 0
        found.append(Blame(name, excess[name], own, z[name], tuple(explained_by), novel=novel))
    found = _with_undeclared(found, topology)
    return tuple(sorted(found, key=lambda one: one.own * (1.0 if one.z > ANOMALOUS_Z else _CALM), reverse=True))


def _with_undeclared(found: list[Blame], topology: Topology) -> list[Blame]:
    """With the callees that may be missing from the topology.

    Trouble is larger, beside what is usual, at the service that causes it than at those that call it; without that
    the caller would look like a callee of its callee.
    """
    troubled = [one for one in found if one.z > ANOMALOUS_Z and one.own > 0 and not one.novel]
    reach = {one.upstream: topology.callees(one.upstream) for one in troubled}
    undeclared = {
        one.upstream: tuple(
            other.upstream
            for other in troubled
            if other.z > one.z
            and other.own >= _MATCHES * one.own
            and other.upstream not in reach[one.upstream]
            and one.upstream not in reach[other.upstream]
        )
        for one in troubled
    }
    return [msgspec.structs.replace(one, undeclared=undeclared.get(one.upstream, ())) for one in found]


class Suspect(msgspec.Struct, frozen=True):
    """A service that may be why another one is in trouble."""

    upstream: str
    score: float  # extra failures or seconds
    reached: bool  # whether the troubled one is known to call it, over any number of calls


def suspects(blames: Sequence[Blame], target: str, topology: Topology) -> tuple[Suspect, ...]:
    """Who may be behind the excess of ``target``, the likeliest first: nobody explains more than there is.

    Services that no known call leads to stay in at a discount, for not every call is declared; at hardly any if their
    trouble has the measure of one that is called, which then stands back itself.
    """
    most = next((one.excess for one in blames if one.upstream == target), 0.0)
    reached = topology.callees(target) | {target}
    called = {name for one in blames if one.upstream in reached for name in one.undeclared}
    found = []
    for one in blames:
        if one.novel or one.own <= 0:
            continue
        known = one.upstream in reached
        weight = 1.0 if known else _CALLED if one.upstream in called else UNREACHED
        weight *= _COULD_BE_EXPLAINED if one.undeclared else 1.0
        weight *= 1.0 if one.z > ANOMALOUS_Z else _CALM
        found.append(Suspect(one.upstream, min(one.own, most) * weight, reached=known))
    return tuple(sorted(found, key=lambda one: -one.score))


def _excess(load: Load) -> float:
    return load.badness - _usual(load) * load.requests


def _usual(load: Load) -> float:
    return load.badness_before / load.requests_before if load.requests_before > 0 else 0.0


def _z(load: Load, *, latency: bool) -> float:
    if load.requests <= 0:
        return 0.0
    rate, usual = load.badness / load.requests, _usual(load)
    if latency:
        return (rate - usual) / max(load.spread, _LEAST_CHANGE * usual, 1e-5)
    return (rate - usual) * load.requests / sqrt(max(usual, _LEAST_SHARE) * load.requests)


def _passed_on(
    caller: str, callee: str, loads: Mapping[str, Load], excess: Mapping[str, float], topology: Topology
) -> float:
    """The part of the callee's excess that this caller's share of its callers' traffic carries."""
    callers = sum(
        loads[name].requests for name, callees in topology.depends_on.items() if callee in callees and name in loads
    )
    return excess[callee] * loads[caller].requests / max(callers, 1e-9)

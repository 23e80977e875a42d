"""Who calls whom: the upstream behind each route, and the upstreams each upstream calls itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.incident import Place
    from gateway.domain.snapshot import Snapshot


class Topology(msgspec.Struct, frozen=True):
    """A picture of the configuration for detection and diagnosis. Unknown names have no callees; cycles are allowed."""

    upstream_of: dict[str, str] = {}  # route → upstream
    depends_on: dict[str, tuple[str, ...]] = {}  # upstream → the upstreams it calls directly
    targets: dict[str, tuple[str, ...]] = {}  # upstream → its configured targets

    @classmethod
    def of(cls, snapshot: Snapshot) -> Topology:
        """The picture of what workers run on."""
        return cls(
            upstream_of={route.name: route.upstream for route in snapshot.routes},
            depends_on={upstream.name: upstream.depends_on for upstream in snapshot.upstreams},
            targets={
                upstream.name: tuple(target.name for target in upstream.targets) for upstream in snapshot.upstreams
            },
        )

    def callees(self, upstream: str) -> frozenset[str]:
        """Every upstream reached from ``upstream`` over any number of calls, without itself."""
        reached: set[str] = set()
        waiting = [upstream]
        while waiting:
            for callee in self.depends_on.get(waiting.pop(), ()):
                if callee not in reached:
                    reached.add(callee)
                    waiting.append(callee)
        return frozenset(reached - {upstream})

    def related(self, one: str, other: str) -> bool:
        """Whether they are the same upstream or one reaches the other."""
        return one == other or other in self.callees(one) or one in self.callees(other)

    def touches(self, places: Iterable[Place], upstream: str) -> bool:
        """Whether one of the places lies at ``upstream``, calls it or is called by it; True when none has one."""
        own = {found for place in places if (found := self.upstream_at(place))}
        return not own or any(self.related(one, upstream) for one in own)

    def knows(self, place: Place) -> bool:
        """Whether its route and its upstream are configured; an empty name is "any"."""
        known_route = not place.route or place.route in self.upstream_of
        return known_route and (not place.upstream or place.upstream in self.depends_on)

    def upstream_at(self, place: Place) -> str:
        """The upstream a place belongs to; empty when it has none."""
        if place.upstream or not place.target:
            return place.upstream or self.upstream_of.get(place.route, "")
        return next((upstream for upstream, targets in self.targets.items() if place.target in targets), "")

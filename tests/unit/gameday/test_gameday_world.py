"""The world asks as callers do, obeys as workers do, and breaks as it is told."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gateway.domain.snapshot import Directive, DirectiveKind
from gateway.gameday import services
from gateway.gameday.catalogue import BY_NAME, CATALOGUE
from gateway.gameday.effects import Effect, Flow
from gateway.gameday.faults import FLOOR_SHARE
from gateway.gameday.world import World, busyness

NOON = 1_767_571_200 + 15 * 3600
ILL = services.target_names("payments")[0]


@pytest.fixture
def world(ours) -> World:
    return World(ours.compiled, random.Random("tests/world"))


def asked(world: World, seconds: int = 120, begin: int = NOON):
    return [record for second in range(begin, begin + seconds) for record in world.second(second)]


def directive(kind: DirectiveKind, **what: object) -> Directive:
    fields = {"target": "", "share": 0.0, **what}
    return Directive(
        id="d", kind=kind, upstream=fields.pop("upstream", ""), target=fields.pop("target"), share=fields.pop("share"),
        issued_at=NOON, expires_at=NOON + 3600, fence=0, source="incident", reason="", **fields,
    )  # fmt: skip


def test_services_call_each_other_through_the_gateway(world):
    records = Counter(record.upstream for record in asked(world, 600))
    assert records["orders"] > records["checkout"]
    assert records["payments"] == pytest.approx(records["orders"], rel=0.05)
    assert records["catalog"] > records["orders"]


def test_records_are_handed_over_in_the_second_they_were_completed(world):
    world.effects = (Effect("payments", NOON, NOON + 60, add_s=3.0),)
    for second in range(NOON, NOON + 30):
        assert all(int(record.completed_at) == second for record in world.second(second))


def test_nights_are_quieter_than_days():
    assert busyness(NOON) > 2 * busyness(NOON + 12 * 3600)


def test_a_target_out_of_rotation_gets_nothing_and_one_on_trial_its_share(world, ours):
    world.obey(ours.compiled, (directive(DirectiveKind.EJECT_TARGET, upstream="payments", target=ILL),), NOON)
    assert all(record.target != ILL for record in asked(world))
    trial = directive(DirectiveKind.EJECT_TARGET, upstream="payments", target=ILL, share=0.1)
    world.obey(ours.compiled, (trial,), NOON + 200)
    charges = [record.target for record in asked(world, 600, NOON + 200) if record.upstream == "payments"]
    assert 0.03 < charges.count(ILL) / len(charges) < 0.07


def test_a_fault_hurts_its_target_and_through_it_the_callers(world):
    world.effects = (Effect("payments", NOON, NOON + 600, frozenset({ILL}), status=500),)
    records = asked(world, 300)
    ill = [record.status for record in records if record.target == ILL]
    well = [record.status for record in records if record.upstream == "payments" and record.target != ILL]
    assert min(ill) == 500
    assert sum(status >= 500 for status in well) < 0.05 * len(well)
    orders = [record.status for record in records if record.upstream == "orders"]
    assert 0.3 < sum(status == 502 for status in orders) / len(orders) < 0.7
    assert sum(felt.hurt for felt in world.felt.values()) > 100


def test_whoever_waits_longer_than_a_service_does_is_told_that_it_failed(world):
    world.effects = (Effect("payments", NOON, NOON + 600, add_s=3600.0),)
    records = asked(world, 60)
    assert {record.status for record in records if record.upstream == "payments"} == {499}
    assert all(record.status in {502, 499, 500, 503} for record in records if record.upstream == "orders")


def test_one_caller_that_asks_too_much_crowds_out_the_others_until_it_is_limited(world, ours):
    caller = services.CALLERS["hooli"][0]
    flow = Flow(NOON, NOON + 3600, route="search", extra_per_s=140.0, caller=tuple(caller))
    world.flows = (flow,)
    asked(world, 60)
    crowded = [record.status for record in asked(world, 60, NOON + 60) if record.upstream == "catalog"]
    assert crowded.count(503) > 100
    order = directive(DirectiveKind.LIMIT_CALLER, caller=f"subject hooli/{caller.subject}", amount=2.0)
    world.obey(ours.compiled, (order,), NOON + 120)
    asked(world, 60, NOON + 120)
    relieved = [record.status for record in asked(world, 60, NOON + 180) if record.upstream == "catalog"]
    assert relieved.count(503) == 0
    assert relieved.count(429) > 1000


def test_callers_ask_again_in_a_storm(world, ours):
    world.effects = (Effect("payments", NOON, NOON + 600, status=503),)
    calm = len([record for record in asked(world, 60) if record.upstream == "orders"])
    storm = World(ours.compiled, random.Random("tests/world"))
    storm.effects, storm.flows = world.effects, (Flow(NOON, NOON + 600, retries=3),)
    assert len([record for record in asked(storm, 60) if record.upstream == "orders"]) > 1.5 * calm


@pytest.mark.parametrize("name", [kind.name for kind in CATALOGUE])
def test_every_drawn_fault_is_one_a_person_would_mind(name):
    for number in range(40):
        draw = random.Random(f"tests/{name}/{number}")
        fault = BY_NAME[name].draw(draw, NOON, 0.4 + 0.6 * draw.random())
        assert fault.kind == name
        assert fault.ended - fault.began >= 240
        assert fault.effects or fault.flows or fault.revision
        assert all(effect.share >= FLOOR_SHARE and effect.began >= NOON for effect in fault.effects)
        assert all(effect.status or effect.add_s >= 0.1 or effect.factor > 1 for effect in fault.effects)
        assert {right.kind or "tell a person" for right in fault.right} <= set(BY_NAME[name].right)

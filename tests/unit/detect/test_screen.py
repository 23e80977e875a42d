"""Looking closer only where it is worth it finds what looking closer everywhere finds."""

from __future__ import annotations

import random

import pytest

from gateway.detect.detectors import examine_all, in_service
from gateway.detect.screen import Screen
from gateway.domain.policy import DetectSettings
from tests.unit.detect.traffic_model import START, Flow, Traffic


class NoScreen(Screen):
    """Every place is worth a look."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = {}

    def take(self, at, sums):
        super().take(at, sums)
        self.seen.update(dict.fromkeys(sums, at))

    @property
    def failing(self):
        return self.seen

    @property
    def slow(self):
        return self.seen

    def beside_siblings(self):
        return {place for place in self.seen if place.target}


def drawn_traffic(seed):
    """Services of any rate, speed and error share, and a few faults of any kind, place and length."""
    draw = random.Random(seed)
    flows = []
    for service in ("orders", "payments", "search"):
        rate, latency = draw.choice((0.3, 2.0, 10.0)), draw.choice((1.0, 30.0, 400.0))
        for target in range(draw.choice((1, 2, 4))):
            zone = draw.choice((1.0, 1.0, 6.0))
            errors = draw.choice((0.0, 0.01, 0.08))
            flows.append(
                Flow(service, service, f"{service}{target}", rate, errors, latency * zone, draw.choice((0.2, 0.5, 1.0)))
            )
    faults = []
    for _ in range(4):
        begins = START + draw.randrange(60, 800, 5)
        faults.append((begins, begins + draw.choice((10, 60, 400)), draw.choice(flows), draw.choice("eslg")))

    def fault(flow, at):
        for begins, ends, where, kind in faults:
            hit = flow.upstream == where.upstream and (kind in "sg" or flow.target == where.target)
            if begins <= at < ends and hit:
                if kind == "e":
                    flow = flow._replace(errors=0.3)
                elif kind == "g":  # gone, or failing fast
                    flow = flow._replace(errors=0.9, latency_ms=0.5, rate=flow.rate / 3)
                else:
                    flow = flow._replace(latency_ms=flow.latency_ms * (3.0 if kind == "s" else 8.0))
        return flow

    return Traffic(flows, seed, fault)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_found_is_what_is_found_without_any_screen(seed):
    traffic = drawn_traffic(seed)
    screened, plain = in_service(DetectSettings()), in_service(DetectSettings())
    plain[0]._baseline.screen = NoScreen()
    found = 0
    for at in range(START, START + 900, 5):
        traffic.bin(at)
        wanted = examine_all(plain, traffic.window, at + 6.0)
        assert examine_all(screened, traffic.window, at + 6.0) == wanted
        found += len(wanted)
    assert found, "a run in which nothing is found says nothing"


def test_a_bin_that_grows_after_it_was_read_is_read_again():
    screened, plain = in_service(DetectSettings()), in_service(DetectSettings())
    plain[0]._baseline.screen = NoScreen()
    traffic = Traffic(
        [Flow("orders", "orders", name, 6.0) for name in ("o1", "o2")],
        fault=lambda flow, at: flow._replace(errors=0.6) if at >= START + 600 and flow.target == "o1" else flow,
    )
    found = []
    for at in range(START, START + 660, 5):
        traffic.bin(at, 1.0)
        examine_all(screened, traffic.window, at + 1.0)
        examine_all(plain, traffic.window, at + 1.0)
        traffic.bin(at, 4.0)
        found = examine_all(screened, traffic.window, at + 6.0)
        assert found == examine_all(plain, traffic.window, at + 6.0)
    assert found


def test_places_without_traffic_are_forgotten():
    traffic = Traffic([Flow("orders", "orders", "o1", 2.0)])
    detectors = in_service(DetectSettings())
    screen = detectors[0]._baseline.screen
    for at in range(START, START + 1500, 5):
        traffic.flows[0] = Flow("orders", "orders", f"o{at // 10 % 1000}", 2.0)  # another target every ten seconds
        traffic.bin(at)
        examine_all(detectors, traffic.window, at + 6.0)
    assert len(screen._members) < 300
    assert sum(len(group.members) for group in screen._groups.values()) == len(screen._members)

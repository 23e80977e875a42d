"""Noise alone must not wake anybody: simulated hours of healthy traffic at low and high rates."""

from __future__ import annotations

import pytest

from gateway.detect.detectors import examine_all, in_service
from gateway.domain.policy import DetectSettings
from tests.unit.detect.traffic_model import START, Flow, Traffic


@pytest.mark.parametrize(("rate", "hours", "errors"), [(0.5, 5, 0.01), (5, 1.5, 0.02), (60, 0.3, 0.005)])
def test_healthy_noise_raises_nothing(rate, hours, errors):
    flows = [Flow("orders", "orders", f"o{n}", rate / 4, errors) for n in (1, 2)]
    flows += [Flow("payments", "payments", f"p{n}", rate / 4, errors, 12.0, 0.8) for n in (1, 2)]
    traffic = Traffic(flows, seed=int(rate * 10))
    detectors = in_service(DetectSettings())
    found = []
    for at in range(START, START + int(hours * 3600), 5):
        traffic.bin(at)
        traffic.window.forget(at)
        found += examine_all(detectors, traffic.window, at + 5.3)
    assert [anomaly.reason for anomaly in found] == []

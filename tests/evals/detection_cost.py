"""What detection costs: every detector in service over simulated traffic, per series and minute of traffic.

``python -m tests.evals.detection_cost [--services N] [--minutes M]`` prints one JSON object. A series is one signal
(errors, latency, traffic) of one route, upstream or target. Twelve passes a minute look at all of them.
"""

from __future__ import annotations

import argparse
import json
from time import process_time

from gateway.detect.detectors import examine_all, in_service
from gateway.domain.policy import DetectSettings
from tests.unit.detect.traffic_model import START, Flow, Traffic

_SIGNALS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=10, help="each with one route and two targets")
    parser.add_argument("--minutes", type=int, default=90)
    asked = parser.parse_args()
    flows = [Flow(f"r{n}", f"u{n}", f"t{n}.{t}", 10.0) for n in range(asked.services) for t in range(2)]
    traffic = Traffic(flows)
    detectors = in_service(DetectSettings())
    spent, measured, half = 0.0, 0, asked.minutes // 2  # the first half fills the baseline
    for minute in range(asked.minutes):
        for at in range(START + 60 * minute, START + 60 * minute + 60, 5):
            traffic.bin(at)
            begun = process_time()
            examine_all(detectors, traffic.window, at + 6.0)
            if minute >= half:
                spent += process_time() - begun
        measured += minute >= half
    series = asked.services * 4 * _SIGNALS
    found = {
        "series": series,
        "minutes": measured,
        "us_per_series_and_minute": round(spent / measured / series * 1e6, 1),
        "ms_per_pass": round(spent / measured / 12 * 1e3, 2),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

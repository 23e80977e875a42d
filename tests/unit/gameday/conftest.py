"""One recording of quiet traffic for all tests: making it takes longer than a test should."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.domain.topology import Topology
from gateway.gameday.judging import judge
from gateway.gameday.play import play
from gateway.gameday.recording import record
from gateway.gameday.running import configuration, drawn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.config.checking import Configuration
    from gateway.gameday.judging import Result
    from gateway.gameday.recording import Recording


@pytest.fixture(scope="session")
def ours() -> Configuration:
    return configuration()


@pytest.fixture(scope="session")
def quiet_hour(ours) -> Recording:
    return record(ours.compiled, "tests/recording")


@pytest.fixture
def judged(ours, quiet_hour, tmp_path: Path) -> Callable[[str], Result]:
    """Play one fault of that kind to its end."""

    def played(kind: str, seed: int = 1) -> Result:
        fault = drawn(0, seed, quiet_hour, [kind])
        seen = asyncio.run(play(ours, quiet_hour, fault, f"tests/{kind}", tmp_path))
        return judge(0, fault, seen, Topology.of(ours.compiled))

    return played

"""What tests of migration guides share: services behind the gateway, and rows at work in front of them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.integration.docs.migration_world import Services, Trial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def standing_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with ExitStack() as stack:
        yield Services(tmp_path_factory.mktemp("services"), stack)


@pytest.fixture
def trial(request: pytest.FixtureRequest, tmp_path: Path, standing_services: Services) -> Trial:
    """Of the guide that the module names GUIDE."""
    standing_services.reset()
    return Trial(request.module.GUIDE, tmp_path, standing_services)


@pytest.fixture
def at_work(trial: Trial):
    return trial.at_work


@pytest.fixture
def as_program(trial: Trial):
    return trial.as_program

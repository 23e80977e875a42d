"""What tests on the wire share: each runs once over each way of driving the steps."""

from __future__ import annotations

import pytest

from tests.integration.edge import edge_world
from tests.security import wire_world


@pytest.fixture(scope="module", params=["asgi", "lane"])
def driver(request):
    return getattr(edge_world, request.param)


@pytest.fixture(scope="module")
def shared_front(driver):
    with wire_world.gateway(driver) as made:
        yield made


@pytest.fixture
def front(shared_front):
    """A gateway whose one open route leads to a strict origin."""
    shared_front.clear()
    return shared_front

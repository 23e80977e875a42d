"""Every way of driving the steps; the tests that take ``driver`` run once over each."""

from __future__ import annotations

import pytest

from tests.integration.edge import edge_world


@pytest.fixture(params=["asgi", "lane"])
def driver(request):
    """Starts a gateway: ``with driver(steps, forwarder) as port``."""
    return {"asgi": edge_world.asgi, "lane": edge_world.lane}[request.param]

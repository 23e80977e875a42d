"""A program reports events to the running gateway with the client, through a crash of control, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from gateway.client import EventClient
from tests import running

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "a token for events of decent length"
SOURCES = "[sources.events]\n"
LONG_S = 60.0


def test_events_are_kept_once_through_a_crash_of_control(tmp_path: Path) -> None:
    with (
        running.origin() as origin,
        running.gateway(tmp_path, running.config(origin.port, more=SOURCES), SENTINEL_EVENTS_TOKEN=TOKEN) as gateway,
        EventClient(gateway.admin_url, TOKEN, agent_id="web-1", every_s=0.05) as client,
    ):
        client.report("deploy.begun", message="57", fields={"revision": 57})
        assert client.flush(LONG_S)
        control = gateway.child("control")
        control.kill()
        psutil.wait_procs([control], timeout=LONG_S)
        for number in range(300):
            client.report("tick", severity="debug", message=str(number))
        assert client.flush(LONG_S), client.counts
        gateway.wait(gateway.ready, LONG_S, "control is back")
        kept = gateway.api("/v1/agents/web-1/events?limit=500")["items"]
        assert sorted(event["kind"] for event in kept) == ["deploy.begun", *["tick"] * 300]
        assert client.counts == (301, 0, 0, 0)
        shown = gateway.sentinel("events", "web-1", "--kind", "deploy.", "--config", str(gateway.config))
        assert "revision=57" in shown.stdout, shown.stderr

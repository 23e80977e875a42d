"""Signals from outside reach the running gateway: events through a crash of control, alerts, and Elasticsearch."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from gateway.client import EventClient
from gateway.ingest.elasticsearch_queries import identifier
from tests import running
from tests.elasticsearch_server import elasticsearch

ROOT = Path(__file__).parents[2]
TOKEN = "a token for events of decent length"
SOURCES = "[sources.events]\n"
LONG_S = 120.0


def test_events_are_kept_once_through_a_crash_of_control(tmp_path: Path) -> None:
    with (
        running.origin() as origin,
        running.gateway(tmp_path, running.config(origin.port, more=SOURCES), SENTINEL_EVENTS_TOKEN=TOKEN) as gateway,
        EventClient(gateway.admin_url, TOKEN, agent_id="web-1", every_s=0.05) as client,
    ):
        client.report("deploy.begun", message="57", fields={"revision": 57})
        assert client.flush(LONG_S)
        by_hand = subprocess.run(
            ["sh", "-c", _of_the_page(gateway)], capture_output=True, text=True, check=True, timeout=60
        )
        assert json.loads(by_hand.stdout) == {"stored": 1, "duplicates": 0, "refused": []}
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


def test_a_made_up_alert_opens_an_incident_that_names_what_elasticsearch_says_and_its_end_closes_it(
    tmp_path: Path,
) -> None:
    with elasticsearch() as search, running.origin() as origin:
        search.indices |= {
            "app-logs-all": [_line(number) for number in range(3)],
            "app-metrics-1": [],
            "incident-runbooks": [{"_id": "pool", "_source": {"title": "Pool", "body": "Raise max_connections."}}],
        }
        more = '[sources.alerts]\n[sources.elasticsearch]\npoll = "5s"\n'
        environ = {"SENTINEL_ALERTS_TOKEN": TOKEN, "ELASTICSEARCH_URL": search.url}
        with running.gateway(tmp_path, running.config(origin.port, more=more), **environ) as gateway:
            runbook = f"/api/v1/runbooks/{identifier('pool')}"
            gateway.wait(lambda: gateway.control.get(runbook).is_success, LONG_S, "the runbook is taken over")
            config = ("--config", str(gateway.config))
            sent = gateway.sentinel("simulate", "database", "--service", "api", *config)
            assert sent.returncode == 0, sent.stderr

            def incidents(state: str) -> list[Any]:
                return list(gateway.api(f"/api/v1/incidents?state={state}")["items"])

            gateway.wait(lambda: incidents("open"), LONG_S, "an incident is open")
            (opened,) = incidents("open")
            assert (opened["severity"], opened["place"]["upstream"]) == ("P1", "api")
            path = f"/api/v1/incidents/{opened['id']}"
            gateway.wait(lambda: gateway.api(path)["diagnosis"], LONG_S, "it is diagnosed")
            said = [one["statement"] for one in gateway.api(path)["diagnosis"]["evidence"] if one["kind"] == "log"]
            assert any('"no connection left in the pool of' in one and "3 times" in one for one in said), said
            gateway.sentinel("simulate", "database", "--service", "api", "--resolve", *config)
            gateway.wait(lambda: incidents("CLOSED"), LONG_S, "its end closes it")


def _of_the_page(gateway: running.Gateway) -> str:
    """The first command of the how-to page, for this gateway."""
    page = (ROOT / "docs/how-to/events.md").read_text()
    command = page.split("```sh\n", 1)[1].split("```", 1)[0]
    command = command.replace("http://127.0.0.1:8001", gateway.admin_url)
    return f"SENTINEL_EVENTS_TOKEN='{TOKEN}'; {command}"


def _line(number: int) -> dict[str, Any]:
    source = {
        "@timestamp": datetime.now(UTC).isoformat(),
        "service.name": "api",
        "log.level": "error",
        "message": f"no connection left in the pool of {number} after {number} ms",
    }
    return {"_id": str(number), "_source": source}

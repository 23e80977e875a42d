"""Facts about our own parts, gathered from real servers and files."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.admin.exposition import Meters
from gateway.control.key_sets import KeySets
from gateway.control.leadership import Leadership
from gateway.control.own_health import OwnHealth
from gateway.domain.access import JwtPolicy, ServerTls
from gateway.domain.policy import NotifyChannel
from gateway.domain.snapshot import EdgePolicy, Snapshot
from gateway.domain.upstreams import Target, Upstream
from gateway.identity.key_set_fetch import KeySetFetcher
from gateway.notify.channels import build
from gateway.notify.http_post import Poster
from gateway.notify.message import trial_message
from gateway.notify.outbox import Outbox
from gateway.run_folder import RunFolder
from gateway.store.engine import open_store
from gateway.store.leases import Leases
from gateway.store.server_clock import server_clock
from tests import running, servers
from tests.certificates import Authority
from tests.unit.notify.memory_store import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

EMPTY = Snapshot(revision=1, created_at=0.0, routes=(), upstreams=())


class Journal:
    waiting = 0
    dropped = 0


async def no_clock() -> None:
    return None


def health(folder: Path, **given: Any) -> OwnHealth:
    run = RunFolder(folder / "run")
    run.make()
    meters = given.pop("meters", None) or Meters()
    values: dict[str, Any] = {
        "redis_url": "",
        "snapshot": lambda: EMPTY,
        "value": meters.value,
        "store_up": lambda: True,
        "journal": Journal(),
        "key_sets": tuple,
        "workers": lambda: None,
        "wanted_workers": 1,
        "channels": {},
        "spool_bound": lambda: 1000,
        "provider": "",
        "store_clock": no_clock,
        "publish": meters.set_all,
    } | given
    return OwnHealth(run, **values)


async def names(own: OwnHealth) -> list[str]:
    await own.look()
    return [one.name for one in own.symptoms()]


async def test_a_redis_that_is_stopped_is_seen_and_seen_to_come_back(tmp_path):
    with servers.redis_server() as redis:
        own = health(tmp_path, redis_url=redis.url)
        assert await names(own) == []
        redis.stop()
        assert await names(own) == ["redis"]
        assert own.facts.redis is not None
        assert own.facts.redis.error == "no connection can be made"
        redis.start()
        assert await names(own) == []


async def test_a_database_that_is_stopped_is_seen_by_the_lease_that_cannot_be_renewed(tmp_path):
    with servers.postgres_server() as postgres:
        store = open_store(postgres.url)
        leadership = Leadership(Leases(store), "n1", on_fence=lambda _fence: None)
        own = health(tmp_path, store_up=lambda: leadership.store_up, store_clock=lambda: server_clock(store))
        await own.look()
        assert abs(own.facts.clock.skew_s["the database"]) < 5  # one machine, one clock
        postgres.stop()
        await leadership.look()
        assert await names(own) == ["store"]
        await store.close()


async def test_an_issuer_that_does_not_answer_is_seen_and_its_keys_stay(tmp_path):
    url = f"http://127.0.0.1:{servers.free_port()}/jwks"

    class Publisher:
        snapshot = Snapshot(revision=1, created_at=0.0, routes=(), upstreams=(), jwt=(JwtPolicy(jwks_url=url),))

        def set_key_set(self, _url: str, _text: str) -> Snapshot:
            return self.snapshot

    async with KeySetFetcher(lambda _text: "") as fetcher:
        key_sets = KeySets(Publisher(), fetcher, count=lambda *_: None, clock=time.time, random=lambda: 0.5)
        await key_sets.look()
        own = health(tmp_path, key_sets=key_sets.status)
        assert await names(own) == ["key set:127.0.0.1"]


async def test_a_channel_that_answers_500_is_in_trouble_until_it_takes_a_message(tmp_path):
    with running.origin() as slack:
        slack.answer = lambda _method, _path: (500, b"no")
        configured = [NotifyChannel(name="ops", kind="slack", url_env="URL")]
        own = health(tmp_path, channels={"ops": "slack"})
        async with Poster() as poster:
            secrets = {"URL": f"http://127.0.0.1:{slack.port}/services/T/B/x"}
            outbox = Outbox(MemoryStore(), configured, build(configured, secrets.get, poster), watch=own.delivered)
            for number in range(3):
                await outbox.post(trial_message(float(number)))
                await outbox.deliver_due(time.time())
            assert await names(own) == ["notify:ops"]
            slack.answer = lambda _method, _path: (200, b"ok")
            await outbox.post(trial_message(9.0))
            await outbox.deliver_due(time.time())
        assert await names(own) == []


async def test_certificates_are_read_from_their_files(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.files("server", days=2.9)
    _, another_key = authority.files("other", days=300)

    def shown(key_file: str) -> OwnHealth:
        snapshot = Snapshot(
            revision=1, created_at=0.0, routes=(), upstreams=(), policy=EdgePolicy(tls=ServerTls(certificate, key_file))
        )
        return health(tmp_path, snapshot=lambda: snapshot)

    ending, unusable = shown(key), shown(another_key)
    assert await names(ending) == await names(unusable) == ["certificate:clients"]
    assert "ends in 3 days" in ending.symptoms()[0].said
    assert "cannot be used" in unusable.symptoms()[0].said


async def test_a_spool_that_fills_is_told_by_the_metric_that_everybody_sees(tmp_path):
    meters = Meters()
    meters.on_spool(600)
    meters.on_lost(7)
    own = health(tmp_path, meters=meters)
    assert await names(own) == ["spool"]
    assert own.symptoms()[0].counted == 7
    assert meters.value("sentinel_own_trouble", "spool") == 1.0
    meters.on_spool(10)
    assert await names(own) == []
    assert meters.value("sentinel_own_trouble", "spool") == 0.0


async def test_a_clock_that_jumps_is_seen_by_one_that_cannot(tmp_path):
    wall, steady = [1_790_000_000.0], [100.0]
    own = health(tmp_path, clock=lambda: wall[0], monotonic=lambda: steady[0])
    assert await names(own) == []
    wall[0] += 3605.0
    steady[0] += 5.0
    assert await names(own) == ["clock"]
    assert own.symptoms()[0].said == "Our own clock jumped forward by 3600 s"


async def test_a_control_that_ended_without_a_word_is_told_by_the_next(tmp_path):
    before = health(tmp_path)
    await before.look()
    alive = tmp_path / "run" / "control.alive"
    os.utime(alive, (time.time() - 90, time.time() - 90))
    after = health(tmp_path)
    assert await names(after) == ["control"]
    after.rest()
    assert await names(health(tmp_path)) == []


async def test_names_are_asked_for_once_workers_could_not_resolve_one(tmp_path):
    meters = Meters()
    upstream = Upstream(
        name="payments", targets=(Target("a:1", "no.such.name.invalid", 1), Target("b:1", "127.0.0.1", 1))
    )
    snapshot = Snapshot(revision=1, created_at=0.0, routes=(), upstreams=(upstream,))
    own = health(tmp_path, meters=meters, snapshot=lambda: snapshot)
    assert await names(own) == []
    meters.count("sentinel_name_lookups_total", "failed")
    assert await names(own) == ["names:payments"]
    assert own.facts.names[0].names == ("no.such.name.invalid",)


async def test_a_model_that_fails_is_told_until_it_writes_a_report(tmp_path):
    own = health(tmp_path, provider="openai")
    own.reported("it took longer than 20 s")
    assert await names(own) == ["model"]
    own.reported("")
    assert await names(own) == []

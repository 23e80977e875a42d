"""The limiter on a real Redis Cluster of three servers: slots, parts of a check, moved slots, a server that dies."""

from __future__ import annotations

import asyncio
import subprocess
import time
import uuid
from contextlib import asynccontextmanager

import pytest
import redis

from gateway.cli.checkups.around import _ask_cluster
from gateway.domain.limits import Limit, LimitMode, Quota, Scope
from gateway.edge.limit_groups import SLOTS, Group
from gateway.edge.limits import LimitSet
from gateway.edge.rate_limit import RateLimiter, script
from gateway.edge.redis_cluster import RedisCluster, connection
from gateway.edge.redis_link import RedisLink
from gateway.errors import ConfigError
from gateway.metrics import WorkerCounters
from tests import servers
from tests.integration.edge.test_edge_limiter_on_redis import CALLS, FALLBACKS, until
from tests.unit.edge.edge_values import exchange, route

SERVERS = 3


class Cluster:
    """Three servers of one slot range each, known to one another."""

    def __init__(self, folder) -> None:
        self.ports = ports()
        self.processes = []
        for port in self.ports:
            home = folder / str(port)
            home.mkdir()
            self.processes.append(
                subprocess.Popen(
                    [
                        servers.redis_binary(),
                        *("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(home)),
                        *("--cluster-enabled", "yes", "--cluster-node-timeout", "2000"),
                        *("--cluster-require-full-coverage", "no"),
                    ],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        self.clients = [redis.Redis(port=port, decode_responses=True) for port in self.ports]
        self.url = f"redis+cluster://127.0.0.1:{self.ports[0]},127.0.0.1:{self.ports[1]}"

    def join(self) -> None:
        for client in self.clients:
            wait(lambda client=client: client.ping())
        share = SLOTS // SERVERS + 1
        for number, client in enumerate(self.clients):
            first, last = number * share, min(SLOTS, (number + 1) * share) - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port in self.ports[1:]:
            self.clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port)
        for client in self.clients:
            wait(lambda client=client: "cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))

    def owner(self, slot: int) -> int:
        return slot // (SLOTS // SERVERS + 1)

    def move(self, slot: int, number: int) -> None:
        """Give an empty slot to another server."""
        node = self.clients[number].execute_command("CLUSTER", "MYID")
        for client in (self.clients[number], *self.clients):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", node)

    def flush(self) -> None:
        for client in self.clients:
            client.flushall()

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        for process in self.processes:
            process.kill()
            process.wait()


def ports() -> list[int]:
    """Free ports whose bus ports, 10,000 higher, exist."""
    found: list[int] = []
    while len(found) < SERVERS:
        port = servers.free_port()
        if port <= 55_000 and port not in found:
            found.append(port)
        elif port > 55_000:
            found.append(port - 25_000)
    return found


def wait(ready, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            if ready():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.join()
        yield made
    finally:
        made.stop()


@asynccontextmanager
async def limiter_on(url: str, counters: WorkerCounters | None = None):
    link = connection(url, script())
    limiter = RateLimiter(counters or WorkerCounters(), link=link, budget_s=1.0)
    link.start()
    try:
        await until(lambda: link.ready)
        yield limiter
    finally:
        await limiter.close()


async def take(limiter: RateLimiter, limited: LimitSet, peer: str = "192.0.2.1"):
    made = exchange(peer=peer)
    made.limits, made.route = limited, route()
    later = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(3):
        return limiter.take(made, later.set_result) or await later


def rule(burst: int, scope: Scope = Scope.CLIENT, **changes) -> Limit:
    return Limit(name=uuid.uuid4().hex, rate=0.001, burst=burst, scope=scope, **changes)


def peers_on(cluster: Cluster, limited: LimitSet) -> list[str]:
    """One client for each server."""
    found: dict[int, str] = {}
    for number in range(200):
        peer = f"198.51.100.{number}"
        [slot] = Group([(limited.rules[0].name, f"c\0{peer}")]).slots
        found.setdefault(cluster.owner(slot), peer)
    return [found[number] for number in range(SERVERS)]


@pytest.mark.anyio
async def test_callers_are_counted_on_the_server_of_their_slot_and_all_workers_agree(cluster):
    counters = WorkerCounters()
    limited = LimitSet((rule(4),))
    async with limiter_on(cluster.url, counters) as one, limiter_on(cluster.url) as two:
        for peer in peers_on(cluster, limited):
            verdicts = [await take(limiter, limited, peer) for _ in range(4) for limiter in (one, two)]
            assert [verdict.allowed for verdict in verdicts] == [True] * 4 + [False] * 4
    assert set(counters.take()) <= {f"{CALLS}|ok", f"{CALLS}|noscript", "sentinel_limiter_local_total|exhausted"}
    assert all(len(client.keys(f"*{limited.rules[0].name}")) == 1 for client in cluster.clients)


@pytest.mark.anyio
async def test_checks_of_one_tick_for_many_slots_are_all_answered(cluster):
    counters = WorkerCounters()
    limited = LimitSet((rule(2), Limit(name=uuid.uuid4().hex, rate=1.0, burst=9, scope=Scope.CLIENT)))
    async with limiter_on(cluster.url, counters) as limiter:
        verdicts = await asyncio.gather(*(take(limiter, limited, f"203.0.113.{n % 50}") for n in range(150)))
    assert sum(verdict.allowed for verdict in verdicts) == 100
    assert FALLBACKS not in counters.take()


@pytest.mark.anyio
async def test_a_check_over_several_slots_charges_all_of_them_or_none(cluster):
    everybody, each = rule(7, Scope.ROUTE), rule(5)
    day = Quota(name=uuid.uuid4().hex, count=50, period="day", scope=Scope.ROUTE)
    watching = rule(1, Scope.ROUTE, mode=LimitMode.SHADOW)
    limited = LimitSet((everybody, each, watching), (day,))
    counters = WorkerCounters()
    async with limiter_on(cluster.url, counters) as limiter:
        first, second, *_ = peers_on(cluster, LimitSet((each,)))
        verdicts = [await take(limiter, limited, first) for _ in range(8)]
        assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False] * 3
        assert verdicts[-1].refused_by() == each
        await asyncio.sleep(0.05)  # what was charged elsewhere is given back behind the answer
        verdicts = [await take(limiter, limited, second) for _ in range(3)]
        assert [verdict.allowed for verdict in verdicts] == [True, True, False]
        assert verdicts[-1].refused_by() == everybody
        await asyncio.sleep(0.05)
        alone = await take(limiter, LimitSet((), (day,)))
        assert alone.answers[0] == 50 - 8, "seven admitted and this one"
    assert FALLBACKS not in counters.take()


@pytest.mark.anyio
async def test_busy_callers_get_leases_here_too(cluster):
    counters = WorkerCounters()
    async with limiter_on(cluster.url, counters) as limiter:
        limited = LimitSet((rule(1000),))
        verdicts = [await take(limiter, limited) for _ in range(1050)]
    assert sum(verdict.allowed for verdict in verdicts) == 1000
    assert counters.take()["sentinel_limiter_local_total|leased"] > 600


@pytest.mark.anyio
async def test_a_slot_that_moves_is_followed_and_nobody_is_decided_without_redis(cluster):
    counters = WorkerCounters()
    limited = LimitSet((rule(3),))
    peer = peers_on(cluster, limited)[0]
    [slot] = Group([(limited.rules[0].name, f"c\0{peer}")]).slots
    async with limiter_on(cluster.url, counters) as limiter:
        cluster.flush()
        cluster.move(slot, 2)
        try:
            assert (await take(limiter, limited, peer)).answers[0] == 2
            assert counters.take()[f"{CALLS}|moved"] == 1
            assert (await take(limiter, limited, peer)).answers[0] == 1
            counted = counters.take()
            assert f"{CALLS}|moved" not in counted
            assert FALLBACKS not in counted
        finally:
            cluster.flush()
            cluster.move(slot, 0)


@pytest.mark.anyio
async def test_a_slot_on_its_way_is_asked_for_where_it_is_going(cluster):
    counters = WorkerCounters()
    limited = LimitSet((rule(3),))
    peer = peers_on(cluster, limited)[0]
    [slot] = Group([(limited.rules[0].name, f"c\0{peer}")]).slots
    ids = [client.execute_command("CLUSTER", "MYID") for client in cluster.clients]
    async with limiter_on(cluster.url, counters) as limiter:
        cluster.flush()
        cluster.clients[1].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        cluster.clients[0].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        try:
            verdicts = [await take(limiter, limited, peer) for _ in range(4)]
        finally:
            cluster.flush()
            for client in cluster.clients[:2]:
                client.execute_command("CLUSTER", "SETSLOT", slot, "STABLE")
    assert [verdict.allowed for verdict in verdicts] == [True] * 3 + [False]
    counted = counters.take()
    assert counted[f"{CALLS}|moved"] == 4
    assert FALLBACKS not in counted


@pytest.mark.anyio
async def test_one_server_that_dies_takes_only_its_own_callers_with_it(tmp_path):
    made = Cluster(tmp_path)
    try:
        await asyncio.to_thread(made.join)
        counters = WorkerCounters()
        limited = LimitSet((rule(2),))
        peers = peers_on(made, limited)
        async with limiter_on(made.url, counters) as limiter:
            made.processes[2].kill()
            made.processes[2].wait()
            await until(lambda: not limiter._link.ready)
            counters.take()
            assert [(await take(limiter, limited, peers[2])).allowed for _ in range(3)] == [True, True, False]
            assert counters.take()[FALLBACKS] == 3
            for peer in peers[:2]:
                assert [(await take(limiter, limited, peer)).allowed for _ in range(3)] == [True, True, False]
            assert FALLBACKS not in counters.take()
    finally:
        made.stop()


def test_the_url_says_whether_it_is_a_cluster():
    cluster = connection("rediss+cluster://user:secret@a:7000,[::1]:7001,b?ssl_ca_certs=/ca.pem", b"")
    assert isinstance(cluster, RedisCluster)
    assert cluster._seeds == [("a", 7000), ("::1", 7001), ("b", 6379)]
    assert cluster._link_url(("::1", 7001)) == "rediss://user:secret@[::1]:7001?ssl_ca_certs=/ca.pem"
    assert isinstance(connection("redis://a/0", b""), RedisLink)


@pytest.mark.parametrize(
    "url",
    ["redis+cluster://a/3", "http+cluster://a", "redis+cluster://a:x", "redis+cluster://a?socket_timeout=1"],
)
def test_a_cluster_url_that_is_wrong_or_would_do_nothing_is_refused(url):
    with pytest.raises(ConfigError):
        connection(url, b"")


def test_the_doctor_looks_at_every_server_of_a_cluster(cluster):
    findings = _ask_cluster(cluster.url, 5.0)
    assert len(findings) == SERVERS
    assert all("takes the script" in finding.text for finding in findings), findings

"""docs/how-to/from-kong.md, row by row: upstreams, consumers, and the node."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.domain.access import ApiKey
from tests.integration.docs.migration_origins import (
    client_context,
    held,
    raw_origin,
    tls_origin,
    unreachable_origin,
)
from tests.integration.docs.migration_page import Guide, Line, completed
from tests.integration.docs.migration_world import ask
from tests.integration.edge.edge_world import Wire, wait_for
from tests.running import SECRET
from tests.tokens import private_key, signed

if TYPE_CHECKING:
    from tests.integration.docs.migration_world import Gateway

GUIDE = Guide("from-kong.md")
ONE_TARGET = Line("[[upstreams]]", 'targets = ["http://10.0.0.5:9000"]')
KEY = "a key that was issued here"
KEYS = (
    ApiKey(
        digest=hashlib.sha256(KEY.encode()).digest(),
        id="sk_1",
        tenant="acme",
        subject="ana",
        scopes=frozenset({"orders:read"}),
    ),
)


def bearer(subject: str = "ana", **claims: object) -> dict[str, str]:
    token = signed({"sub": subject, "exp": 4_000_000_000, **claims}, SECRET, "HS256")
    return {"Authorization": f"Bearer {token}"}


# --- upstreams and targets ---


def test_weights_are_relative(at_work) -> None:
    with at_work("weight: 300") as gateway:
        turns = [gateway.target() for _ in range(8)]
        assert (turns.count("10.0.0.5"), turns.count("10.0.0.6")) == (6, 2)


@pytest.mark.parametrize("row", ["connections", "latency"])
def test_the_target_with_less_to_do_is_taken(trial, at_work, row: str) -> None:
    started = at_work("algorithm: least-connections") if row == "connections" else at_work("algorithm: latency")
    busy, free = trial.services["10.0.0.5"].seen, trial.services["10.0.0.6"].seen
    with started as gateway, held(trial.services["10.0.0.5"]):
        for number in range(40):  # until one comes to the target that is held
            threading.Thread(target=gateway.ask).start()
            wait_for(lambda number=number: len(busy) + len(free) == number + 1)
            if busy:
                break
        assert {gateway.target() for _ in range(10)} == {"10.0.0.6"}


def stays(gateway: Gateway, asking: list[dict[str, Any]]) -> set[str]:
    """The targets of callers, each of whom asks twice in a row and meets the same one."""
    targets = []
    for one in asking:
        first, second = gateway.target(**one), gateway.target(**one)
        assert first == second
        targets.append(first)
    return set(targets)


BOTH = {"10.0.0.5", "10.0.0.6"}


def test_a_caller_stays_with_a_target(at_work) -> None:
    with at_work("hash_on: consumer") as gateway:
        assert stays(gateway, [{"fields": bearer(name)} for name in "abcdefghij"]) == BOTH


def test_an_address_stays_with_a_target(at_work) -> None:
    with at_work("hash_on: ip") as gateway:
        assert stays(gateway, [{"client": f"127.0.0.{number}"} for number in range(1, 13)]) == BOTH


def test_the_value_of_a_header_stays_with_a_target(at_work) -> None:
    with at_work("hash_on: header") as gateway:
        assert stays(gateway, [{"fields": {"X-User": name}} for name in "abcdefghij"]) == BOTH


def test_the_value_of_a_cookie_stays_with_a_target_and_none_is_set(at_work) -> None:
    with at_work("hash_on: cookie") as gateway:
        assert stays(gateway, [{"fields": {"Cookie": f"session={name}"}} for name in "abcdefghij"]) == BOTH
        assert "set-cookie" not in gateway.ask().headers


def test_failures_in_a_row_take_a_target_out_and_a_trial_brings_it_back(trial, at_work) -> None:
    bad = trial.services["10.0.0.5"]
    bad.answer = lambda *_: (500, b"")
    sooner = Line("[[upstreams]]", 'outlier = { consecutive = 3, eject = "1s" }')
    with at_work("healthchecks: { passive: { unhealthy: { http_failures: 3 } } }") as gateway:
        assert sorted(gateway.statuses(20)) == [200] * 17 + [500] * 3
    with at_work("healthchecks: { passive: { unhealthy: { http_failures: 3 } } }", sooner) as gateway:
        assert gateway.statuses(10).count(500) == 3
        bad.answer = None
        time.sleep(1.1)
        before = len(bad.seen)
        assert gateway.statuses(10) == [200] * 10
        assert len(bad.seen) - before >= 3


def test_connecting_takes_so_long_at_most(trial, at_work) -> None:
    with unreachable_origin(trial.services), at_work("connect_timeout: 500", ONE_TARGET) as gateway:
        answer = gateway.ask()
        assert (answer.status, answer.problem) == (502, "no connection within 0.5 s")


def test_an_answer_begins_within_the_timeout(trial, at_work) -> None:
    with raw_origin(trial.services) as origin, at_work("read_timeout: 1000", ONE_TARGET) as gateway:
        client = Wire(gateway.port)
        client.send(b"GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        origin.connection().request()
        assert client.head()[0] == 504
        client.close()


def test_targets_are_verified_and_shown_our_certificate(trial, at_work) -> None:
    with tls_origin(trial.services, trial.services.authority, "orders.internal", asks=True):
        with at_work("client_certificate: { id: gateway }") as gateway:
            assert gateway.ask().status == 200
        with at_work("tls_verify: true") as gateway:
            assert gateway.ask().status == 502  # it asks for a certificate, and this row shows none
    with tls_origin(trial.services, trial.services.authority, "other.internal"), at_work("tls_verify: true") as gateway:
        assert gateway.ask().status == 502
    with (
        tls_origin(trial.services, trial.services.authority, "orders.internal"),
        at_work("tls_verify: true") as gateway,
    ):
        assert gateway.ask().status == 200


# --- consumers ---


def test_an_api_key_is_read_from_two_fields_and_nowhere_else(at_work) -> None:
    with at_work("key-auth: {}", keys=KEYS) as gateway:
        sent: list[dict[str, str]] = [{"X-API-Key": KEY}, {"Authorization": f"ApiKey {KEY}"}, {"apikey": KEY}, {}]
        assert [gateway.ask(fields=fields).status for fields in sent] == [200, 200, 401, 401]
        assert gateway.ask("/orders/1?apikey=" + KEY.replace(" ", "+")).status == 401


def test_an_api_key_can_be_kept_from_the_service(at_work) -> None:
    with at_work("key-auth: { hide_credentials: true }", keys=KEYS) as gateway:
        for fields in ({"X-API-Key": KEY}, {"Authorization": f"ApiKey {KEY}"}):
            assert not {"x-api-key", "authorization"} & set(gateway.ask(fields=fields).saw["headers"])
    with at_work("key-auth: {}", keys=KEYS) as gateway:
        assert gateway.ask(fields={"X-API-Key": KEY}).saw["headers"]["x-api-key"] == KEY


def test_tokens_must_have_an_end_and_stand_in_the_field(at_work) -> None:
    endless = {"Authorization": f"Bearer {signed({'sub': 'ana'}, SECRET, 'HS256')}"}
    with at_work("jwt: { claims_to_verify: [exp] }") as gateway:
        assert [gateway.ask(fields=fields).status for fields in (bearer(), endless, {})] == [200, 401, 401]
        token = bearer()["Authorization"].removeprefix("Bearer ")
        assert gateway.ask(f"/orders/1?jwt={token}").status == 401


def test_issuers_are_found_by_iss_and_kept_apart(at_work) -> None:
    key = private_key("RS256")

    def token(**claims: object) -> dict[str, str]:
        made = signed({"sub": "ana", "exp": 4_000_000_000, "tenant": "acme", **claims}, key, "RS256")
        return {"Authorization": f"Bearer {made}"}

    with at_work("jwt_secrets: [{ key: partner, algorithm: RS256 }]") as gateway:
        saw = gateway.ask(fields=token(iss="partner")).saw["headers"]
        assert (saw["x-sentinel-subject"], saw["x-sentinel-tenant"]) == ("partner:ana", "partner")
        assert gateway.ask(fields=token(iss="stranger")).status == 401


def test_groups_stand_in_the_token(at_work) -> None:
    with at_work("acl: { allow: [clerk] }") as gateway:
        sent = (bearer(roles=["clerk"]), bearer(roles=["guest"]), {})
        assert [gateway.ask(fields=fields).status for fields in sent] == [200, 403, 401]


def test_keys_carry_scopes(at_work) -> None:
    with at_work('acls: [{ group: "orders:read" }]', keys=KEYS) as gateway:
        assert gateway.ask(fields={"X-API-Key": KEY}).status == 200
    more = Line("[[routes]]", 'scopes = ["orders:read", "orders:write"]')
    with at_work('acls: [{ group: "orders:read" }]', more, keys=KEYS) as gateway:
        assert gateway.ask(fields={"X-API-Key": KEY}).status == 403


def test_a_route_can_ask_for_a_certificate(trial, at_work) -> None:
    known = trial.services.authority.files("robot", ("CN", "robot"), ("O", "acme"))
    with at_work("mtls-auth: {}") as gateway:
        assert gateway.ask(tls=client_context(trial.services)).status == 401
        saw = gateway.ask(tls=client_context(trial.services, *known)).saw["headers"]
        assert saw["x-sentinel-subject"] == "robot"


def test_a_route_can_take_several_proofs_but_not_none(at_work) -> None:
    with at_work("anonymous: guest", keys=KEYS) as gateway:
        assert [gateway.ask(fields=fields).status for fields in (bearer(), {"X-API-Key": KEY}, {})] == [200, 200, 401]


def test_services_can_be_told_of_callers_as_they_were_by_kong(at_work) -> None:
    with at_work("X-Consumer-Username") as gateway:
        saw = gateway.ask(fields={**bearer(), "X-Consumer-Username": "admin"}).saw["headers"]
        assert saw["x-consumer-username"] == saw["x-sentinel-subject"] == "ana"


# --- the node ---


def test_clients_behind_trusted_proxies_are_believed(trial, at_work) -> None:
    trial.services.lead("10.0.0.0/8", "127.0.0.0/8")
    with at_work("trusted_ips = 10.0.0.0/8", Line("[[routes]]", 'deny = ["192.0.2.1"]')) as gateway:
        assert gateway.ask(fields={"X-Forwarded-For": "192.0.2.1, 127.0.0.5"}).status == 403
        assert gateway.ask(fields={"X-Forwarded-For": "192.0.2.1, 192.0.2.2"}).status == 200


def test_clients_are_answered_over_tls(trial, at_work) -> None:
    with at_work("ssl_cert = /etc/sentinel/tls/fullchain.pem") as gateway:
        answer = gateway.ask(tls=client_context(trial.services))
        assert answer.saw["headers"]["x-forwarded-proto"] == "https"


def test_the_gateway_does_not_name_itself(at_work) -> None:
    with at_work("headers = off") as gateway:
        assert not {"via", "server"} & set(gateway.ask("/elsewhere").headers)
        assert "via" not in gateway.ask().headers
        assert "via" not in gateway.ask().saw["headers"]


def test_answers_can_tell_where_their_time_went(at_work) -> None:
    with at_work("headers = latency_tokens") as gateway:
        timing = gateway.ask().headers["server-timing"]
        assert [step.partition(";")[0].strip() for step in timing.split(",")] == [
            "auth",
            "limit",
            "connect",
            "upstream",
        ]
    with at_work("headers = off") as gateway:
        assert "server-timing" not in gateway.ask().headers


def test_the_program_listens_watches_records_and_follows_its_file(trial, as_program) -> None:
    sick = trial.services["10.0.0.5"]
    sick.answer = lambda _method, path: (500 if path == "/healthz" else 200, b"")
    with as_program(
        "proxy_listen = 0.0.0.0:8000",
        "admin_listen = 127.0.0.1:8001",
        "healthchecks: { active: { http_path: /healthz } }",
        "prometheus",
        "file-log",
        "kong reload",
    ) as program:
        program.wait(lambda: "target.unhealthy" in program.log.read_text(), 15, "the target is out")

        def only_others() -> bool:
            before = sum(saw["path"] != "/healthz" for saw in sick.seen)
            assert {ask(program.port).status for _ in range(10)} == {200}
            return sum(saw["path"] != "/healthz" for saw in sick.seen) == before

        wait_for(only_others, 5)
        program.wait(program.records, 5, "records")
        assert program.records()[0]["route"] == "orders"
        assert b"sentinel_requests_total{" in ask(program.admin_port, "/metrics").body

        changed = completed(program.config.read_text(), [Line("[[routes]]", 'match = { path = "/later" }')])
        file = program.folder / "changed.toml"
        file.write_text(changed)
        shown = program.sentinel("config", "diff", str(file))
        assert shown.returncode == 1
        assert "/later" in shown.stdout
        assert ask(program.port, "/later").status == 404
        assert program.sentinel("config", "apply", str(file)).returncode == 0
        program.wait(lambda: ask(program.port, "/later").status == 200, 5, "the new route")

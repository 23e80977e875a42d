"""The order of the steps, and what each refusal looks like."""

from __future__ import annotations

import json

import pytest

from gateway.domain.access import AuthMode, JwtPolicy
from gateway.domain.identity import Principal
from gateway.domain.limits import TenantPlan
from gateway.domain.snapshot import EdgePolicy
from gateway.domain.traffic import RECORD_FIELDS, RequestRecord
from gateway.edge import answer
from gateway.edge.authorize import authorize
from gateway.errors import ConfigError
from gateway.metrics import WorkerCounters
from tests.unit.edge.edge_values import PER_CLIENT, Rows, exchange, route, snapshot, steps


def admit(wired, made):
    return wired.admit(made, lambda outcome: pytest.fail(f"called back with {outcome}"))


def test_a_good_request_is_admitted_with_its_route():
    wired = steps()
    made = exchange(wired)
    assert admit(wired, made) is None
    assert (made.route.name, made.upstream, made.client) == ("orders", "orders", "192.0.2.1")


def test_a_bad_path_is_refused_before_any_route_is_looked_for():
    wired = steps(snapshot(route(path="/*", auth=AuthMode.KEY)))
    made = exchange(wired, path=b"/a/../b")
    assert admit(wired, made).status == 400
    assert made.route is None


def test_an_unknown_path_is_404_and_a_wrong_method_405_with_allow():
    wired = steps(snapshot(route(methods=frozenset({"GET", "PUT"}))))
    assert admit(wired, exchange(wired, path=b"/nowhere")).status == 404
    refusal = admit(wired, exchange(wired, method=b"POST"))
    assert refusal.status == 405
    assert refusal.headers == ((b"allow", b"GET, PUT"),)


def test_authentication_comes_before_the_limit():
    wired = steps(snapshot(route(auth=AuthMode.KEY, limits=(PER_CLIENT,))))
    for _ in range(5):
        assert admit(wired, exchange(wired)).status == 401


def test_missing_scopes_are_403_and_name_what_is_needed():
    refusal = authorize(route(scopes=frozenset({"b", "a"})), Principal(kind="jwt", scopes=frozenset({"a"})))
    assert refusal is not None
    assert refusal.status == 403
    challenge = b'Bearer realm="sentinel", error="insufficient_scope", scope="a b"'
    assert refusal.headers == ((b"www-authenticate", challenge),)
    assert authorize(route(scopes=frozenset({"a"})), Principal(kind="key", scopes=frozenset({"a", "z"}))) is None


def test_a_used_up_limit_is_429_with_retry_after_and_counted_by_scope():
    counters = WorkerCounters()
    wired = steps(snapshot(route(limits=(PER_CLIENT,))), counters=counters)
    assert [admit(wired, exchange(wired)) for _ in range(2)] == [None, None]
    made = exchange(wired)
    refusal = admit(wired, made)
    assert refusal.status == 429
    assert refusal.headers == ((b"retry-after", b"1"),)
    headers = dict(answer.own_fields(made))
    assert headers[b"ratelimit-policy"] == b'"orders";q=1;w=1'
    assert headers[b"ratelimit"] == b'"orders";r=0;t=1'
    assert counters.take() == {"sentinel_rate_limited_total|orders|client": 1}


def test_callers_have_buckets_of_their_own():
    wired = steps(snapshot(route(limits=(PER_CLIENT,))))
    for peer in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        assert [admit(wired, exchange(wired, peer=peer)) for _ in range(2)] == [None, None]


def test_the_limits_of_a_plan_apply_beside_those_of_the_route():
    plan = TenantPlan(name="free", limits=(PER_CLIENT,))
    runtime = steps(snapshot(plans=(plan,), tenant_plans={"acme": "free"})).runtime
    principal = Principal(kind="jwt", tenant="acme")
    limited = runtime.limits(route(), principal)
    assert limited is not None
    assert limited.rules == (PER_CLIENT,)
    assert runtime.limits(route(), Principal(kind="", tenant="acme")) is None
    assert runtime.limits(route(), Principal(kind="jwt", tenant="other")) is None
    both = runtime.limits(route(name="two", limits=(PER_CLIENT,)), principal)
    assert both is not None
    assert len(both.rules) == 2


def test_a_request_keeps_the_snapshot_it_started_with():
    wired = steps()
    made = exchange(wired)
    wired.apply(snapshot(route(path="/other")))
    assert admit(wired, made) is None
    assert admit(wired, exchange(wired)).status == 404


def test_an_unfit_snapshot_leaves_the_old_one_in_force():
    wired = steps()
    before = wired.runtime
    wired._secret = lambda _name: ""
    with pytest.raises(ConfigError):
        wired.apply(snapshot(jwt=(JwtPolicy(secret_env="NOT_SET"),)))
    assert wired.runtime is before


def test_a_snapshot_that_wants_redis_is_unfit_for_a_worker_without_it():
    with pytest.raises(ConfigError, match=r"redis\.url"):
        steps(snapshot(policy=EdgePolicy(redis=True)))


def test_a_problem_document_names_the_incident_and_repeats_nothing_of_the_caller():
    hostile = b"/orders/<script>"
    wired = steps(snapshot(route(auth=AuthMode.KEY), open_incidents={"orders": "inc-7"}))
    made = exchange(wired, path=hostile, extra=[(b"x-request-id", b'"><b>')])
    _, headers, body = answer.own(made, admit(wired, made))
    document = json.loads(body)
    assert document.pop("request_id") == '"><b>'
    assert document == {
        "type": "urn:sentinel:problem:unauthenticated",
        "title": "Unauthorized",
        "status": 401,
        "detail": "This route needs proof of identity.",
        "incident": "inc-7",
    }
    assert dict(headers)[b"content-type"] == b"application/problem+json"
    assert dict(headers)[b"content-length"] == b"%d" % len(body)


def test_the_record_has_every_field_in_order_and_its_parts_add_up():
    rows = Rows()
    wired = steps(records=rows)
    agent = (b"user-agent", b"x" * 300 + b"\xff")
    made = exchange(wired, path=b"/orders/" + b"a" * 3000, query=b"q" * 2000, extra=[agent])
    assert admit(wired, made) is None
    made.connected_at = made.limit_at + 10
    made.first_byte_at = made.connected_at + 20
    made.status = 200
    wired.finish(made)
    wired.finish(made)
    assert len(rows.rows) == 1
    assert len(rows.rows[0]) == len(RECORD_FIELDS)
    record = RequestRecord(*rows.rows[0])
    assert (len(record.path), len(record.query), len(record.user_agent)) == (2048, 1024, 256)
    assert (record.method, record.status, record.route, record.upstream) == ("GET", 200, "orders", "orders")
    assert (record.connect_us, record.upstream_us) == (10, 20)
    parts = (record.wait_us, record.auth_us, record.limit_us, record.connect_us, record.upstream_us, record.stream_us)
    assert sum(parts) == record.duration_us


def test_a_request_that_ended_early_gives_its_time_to_the_stage_it_was_in():
    rows = Rows()
    wired = steps(snapshot(route(auth=AuthMode.KEY)), records=rows)
    made = exchange(wired)
    admit(wired, made)
    wired.finish(made)
    record = RequestRecord(*rows.rows[0])
    assert record.auth_us == record.duration_us - record.wait_us
    assert record.limit_us == record.connect_us == record.upstream_us == record.stream_us == 0


def test_admin_requests_are_forwarded_unjudged_by_routes_and_leave_no_record():
    rows = Rows()
    wired = steps(records=rows)
    made = exchange(wired, path=b"/dashboard")
    assert wired.admit_admin(made) is None
    wired.finish(made)
    assert rows.rows == []
    assert wired.admit_admin(exchange(wired, path=b"/dashboard/../x")).status == 400

"""CORS, security headers and the route's own rules, on the fields of answers."""

from __future__ import annotations

import pytest

from gateway.domain.access import AuthMode
from gateway.domain.routing import Cors, HeaderRules
from gateway.domain.snapshot import EdgePolicy
from gateway.edge import answer
from gateway.edge.exchange import Reply
from tests.unit.edge.edge_values import PER_CLIENT, exchange, route, snapshot, steps

APP = "https://app.example"
ORIGIN = (b"origin", APP.encode())
CORS = Cors(origins=(APP,), expose=("x-total",), credentials=True, max_age_s=60)


def wired_with(*routes, **policy):
    return steps(snapshot(*routes, policy=EdgePolicy(**policy)))


def admitted(wired, **changes):
    made = exchange(wired, **changes)
    return made, wired.admit(made, lambda outcome: None)


def relayed(wired, *fields, status=200, **changes):
    made, outcome = admitted(wired, **changes)
    assert outcome is None
    return answer.relayed(made, status, list(fields))


def preflight(wired, method=b"PUT", origin=ORIGIN, **changes):
    extra = [origin, (b"access-control-request-method", method)]
    return admitted(wired, method=b"OPTIONS", extra=extra, **changes)


def test_a_preflight_is_answered_before_anybody_is_authenticated():
    made, outcome = preflight(wired_with(route(auth=AuthMode.JWT, cors=CORS)))
    assert isinstance(outcome, Reply)
    status, fields, body = answer.own(made, outcome)
    found = dict(fields)
    assert (status, body, made.error) == (204, b"", "")
    assert found[b"access-control-allow-origin"] == APP.encode()
    assert found[b"access-control-allow-credentials"] == b"true"
    assert b"PUT" in found[b"access-control-allow-methods"] and found[b"access-control-max-age"] == b"60"
    assert found[b"access-control-allow-headers"] == b"authorization, content-type"
    assert found[b"vary"].startswith(b"Origin") and [name for name, _ in fields].count(b"vary") == 1
    assert b"content-length" not in found


def test_another_origin_is_told_nothing():
    made, outcome = preflight(wired_with(route(cors=CORS)), origin=(b"origin", b"https://evil.example"))
    names = {name for name, _ in answer.own(made, outcome)[1]}
    assert outcome.status == 204 and not any(name.startswith(b"access-control") for name in names)


def test_a_preflight_needs_the_route_of_the_method_it_announces():
    reads = route(methods=frozenset({"GET"}), cors=CORS)
    assert isinstance(preflight(wired_with(reads), method=b"GET")[1], Reply)
    assert preflight(wired_with(reads), method=b"PUT")[1].status == 405


def test_a_preflight_to_a_route_without_cors_is_an_ordinary_request():
    other = route(name="cors", path="/cors", cors=CORS)
    made, outcome = preflight(wired_with(route(), other))
    assert outcome is None and made.route.name == "orders"


def test_options_without_an_announced_method_is_an_ordinary_request():
    assert admitted(wired_with(route(cors=CORS)), method=b"OPTIONS", extra=[ORIGIN])[1] is None


def test_a_preflight_is_subject_to_the_routes_access_list():
    assert preflight(wired_with(route(cors=CORS, deny=("192.0.2.0/24",))))[1].status == 403


def test_the_upstreams_cors_fields_give_way_to_ours():
    fields = relayed(
        wired_with(route(cors=CORS)),
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-credentials", b"true"),
        extra=[ORIGIN],
    )
    assert [value for name, value in fields if name == b"access-control-allow-origin"] == [APP.encode()]
    assert (b"access-control-expose-headers", b"x-total") in fields and (b"vary", b"Origin") in fields


def test_without_an_origin_a_cache_is_still_told_that_it_matters():
    fields = relayed(wired_with(route(cors=CORS)))
    assert (b"vary", b"Origin") in fields and b"access-control-allow-origin" not in dict(fields)


def test_any_origin_never_comes_with_credentials():
    wired = wired_with(route(cors=Cors(origins=("*",), credentials=True)))
    fields = dict(relayed(wired, extra=[ORIGIN]))
    assert fields[b"access-control-allow-origin"] == b"*"
    assert b"access-control-allow-credentials" not in fields and b"vary" not in fields


def test_two_origins_are_none():
    assert b"access-control-allow-origin" not in dict(relayed(wired_with(route(cors=CORS)), extra=[ORIGIN, ORIGIN]))


def test_our_own_refusals_can_be_read_by_the_page():
    wired = wired_with(route(auth=AuthMode.JWT, cors=CORS))
    made, refusal = admitted(wired, extra=[ORIGIN])
    status, fields, _ = answer.own(made, refusal)
    assert status == 401 and dict(fields)[b"access-control-allow-origin"] == APP.encode()


def test_a_429_can_be_read_by_the_page():
    wired = wired_with(route(cors=CORS, limits=(PER_CLIENT,)))
    for _ in range(2):
        assert admitted(wired, extra=[ORIGIN])[1] is None
    made, refusal = admitted(wired, extra=[ORIGIN])
    status, fields, _ = answer.own(made, refusal)
    assert status == 429 and dict(fields)[b"access-control-allow-origin"] == APP.encode()


SECURE = (("x-frame-options", "DENY"), ("x-content-type-options", "nosniff"))


def test_security_headers_stand_on_every_answer_that_lacks_them():
    fields = relayed(wired_with(route(), security_headers=SECURE), (b"x-frame-options", b"SAMEORIGIN"))
    assert [value for name, value in fields if name == b"x-frame-options"] == [b"SAMEORIGIN"]
    assert (b"x-content-type-options", b"nosniff") in fields


def test_security_headers_stand_on_refusals_without_a_route():
    made, refusal = admitted(wired_with(route(), security_headers=SECURE), path=b"/nowhere")
    assert (b"x-frame-options", b"DENY") in answer.own(made, refusal)[1]


def test_a_route_that_removes_a_security_header_does_not_get_it():
    wired = wired_with(route(response_headers=HeaderRules(remove=("x-frame-options",))), security_headers=SECURE)
    fields = relayed(wired, (b"x-frame-options", b"DENY"))
    assert b"x-frame-options" not in dict(fields) and b"x-content-type-options" in dict(fields)


def test_rules_remove_then_set_then_add():
    rules = HeaderRules(remove=("server", "x-a"), set=(("x-a", "set"), ("x-b", "set")), add=(("x-b", "added"),))
    fields = relayed(
        wired_with(route(response_headers=rules)), (b"server", b"old"), (b"x-b", b"1"), (b"x-b", b"2"), (b"x-c", b"3")
    )
    assert fields[:4] == [(b"x-c", b"3"), (b"x-a", b"set"), (b"x-b", b"set"), (b"x-b", b"added")]


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "connection", "x-request-id"])
def test_no_rule_touches_the_framing(name):
    rules = HeaderRules(remove=(name,), set=((name, "9"),), add=((name, "9"),))
    wired = wired_with(route(response_headers=rules), security_headers=((name, "9"),))
    fields = [field for field in relayed(wired, (b"content-length", b"5")) if field[1] == b"9"]
    assert fields == [] and dict(relayed(wired, (b"content-length", b"5")))[b"content-length"] == b"5"


def test_rules_are_about_upstreams_answers_not_ours():
    wired = wired_with(route(auth=AuthMode.JWT, response_headers=HeaderRules(set=(("cache-control", "public"),))))
    made, refusal = admitted(wired)
    assert dict(answer.own(made, refusal)[1])[b"cache-control"] == b"no-store"


def test_without_any_rule_answers_pass_untouched():
    assert wired_with(route()).runtime.answers is None


JSON = [(b"content-type", b"application/json"), (b"content-length", b"5000")]
GZIP = [(b"accept-encoding", b"gzip")]


def test_a_route_that_compresses_sets_the_encoder():
    made, _ = admitted(wired_with(route(compress=True)), extra=GZIP)
    fields = dict(answer.relayed(made, 200, list(JSON)))
    assert fields[b"content-encoding"] == b"gzip" and b"content-length" not in fields and made.encoder is not None


def test_head_says_what_get_would_and_encodes_nothing():
    made, _ = admitted(wired_with(route(compress=True)), method=b"HEAD", extra=GZIP)
    fields = dict(answer.relayed(made, 200, list(JSON)))
    assert fields[b"content-encoding"] == b"gzip" and b"content-length" not in fields and made.encoder is None


def test_http_1_0_is_not_compressed():
    made, _ = admitted(wired_with(route(compress=True)), version="1.0", extra=GZIP)
    assert dict(answer.relayed(made, 200, list(JSON)))[b"content-length"] == b"5000" and made.encoder is None


def test_below_the_policys_size_nothing_is_compressed():
    made, _ = admitted(wired_with(route(compress=True), compress_min_bytes=5001), extra=GZIP)
    answer.relayed(made, 200, list(JSON))
    assert made.encoder is None

from __future__ import annotations

from gateway.config.checking import check_text
from gateway.config.document import Document
from gateway.config.overrides import variable_of
from gateway.config.reading import read
from gateway.config.schema import Named, Scalar, leaves, table
from gateway.settings import Settings

PLAN = '[plans.free-tier]\nlimit = "1/s per client"\n'


def document(text="", **environ):
    result = read(text, "sentinel.toml", Settings.from_environ(environ).overrides)
    assert [str(finding) for finding in result.report.findings] == []
    return result.document


def test_a_variable_wins_over_the_file():
    assert document("[server]\nport = 1\n", SENTINEL_SERVER__PORT="8080").server.port == 8080


def test_a_variable_needs_no_section_in_the_file():
    assert document(SENTINEL_STORE__RETENTION__REQUESTS="7d").store.retention.requests_s == 7 * 86400


def test_a_list_of_plain_values_is_written_with_commas():
    found = document(SENTINEL_SERVER__TRUSTED_PROXIES="10.0.0.0/8, ::1")
    assert found.server.trusted_proxies == ("10.0.0.0/8", "::1/128")


def test_truth_and_fractions_are_converted():
    found = document(SENTINEL_LOG__SERVER_TIMING="on", SENTINEL_DETECT__ERROR_SHARE="0.2")
    assert (found.log.server_timing, found.detect.error_share) == (True, 0.2)


def test_a_named_table_of_the_file_can_be_reached():
    found = document(PLAN, SENTINEL_PLANS__FREE_TIER__LIMIT="5/s per tenant")
    assert found.plans["free-tier"].limit[0].limit.count == 5


def test_a_variable_of_one_underscore_is_not_an_override():
    assert document(SENTINEL_PORT_8000_TCP="tcp://1.2.3.4:8000", SENTINEL_JWT_SECRET="x" * 32) == Document()


def test_a_variable_that_matches_nothing_is_an_error_that_names_it():
    result = check_text("", "sentinel.toml", Settings.from_environ({"SENTINEL_UPSTREAMS__ORDERS__NAME": "x"}))
    assert [finding.source for finding in result.errors] == ["SENTINEL_UPSTREAMS__ORDERS__NAME"]


def test_a_password_may_stand_in_a_variable_and_is_never_shown():
    secret = "postgresql://sentinel:hunter2@db/sentinel"
    result = check_text("", "sentinel.toml", Settings.from_environ({"SENTINEL_STORE__URL": secret}))
    assert result.errors == ()
    assert result.configuration.document.store.url == secret
    assert "hunter2" not in repr(result)


def test_every_scalar_outside_lists_of_tables_has_a_variable():
    samples = {bool: "true", int: "5", float: "0.75", str: "x"}
    for path, key in leaves(table(Document)):
        if "[]" in path or "NAME" in path:
            continue
        if isinstance(key.shape, Named) and not key.shape.switch:
            continue  # under names of the operator's choice: a table cannot be written as one text
        shape = key.shape if isinstance(key.shape, Scalar) else key.shape.item
        assert isinstance(shape, Scalar)
        text = shape.choices[0] if shape.choices else samples[shape.kind]
        text = "true" if getattr(key.shape, "switch", False) else text
        result = read("", "sentinel.toml", {variable_of(path): text})
        assert result.report.variable(tuple(path.split("."))) == variable_of(path)


def test_a_switch_with_a_table_is_switched_by_a_variable():
    assert document(SENTINEL_SERVER__SECURITY_HEADERS="true").server.security_headers is True


def test_a_table_with_required_keys_is_begun_by_variables():
    found = document(SENTINEL_SERVER__TLS__CERTIFICATE="a.pem", SENTINEL_SERVER__TLS__KEY="b.pem").server.tls
    assert (found.certificate_file, found.key_file) == ("a.pem", "b.pem")


def test_several_limits_of_a_plan_are_written_with_commas():
    found = document(PLAN, SENTINEL_PLANS__FREE_TIER__LIMIT="5/s per tenant, quota 100 per day per tenant")
    assert [entry.limit.count for entry in found.plans["free-tier"].limit] == [5, 100]

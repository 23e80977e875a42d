"""The document, the routes and the answers are the same thing."""

from __future__ import annotations

import json
import re

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from gateway.admin import openapi, reference
from gateway.admin.api.endpoint import PREFIX
from gateway.admin.api.table import ENDPOINTS
from gateway.domain.dead_letter import DeadLetter
from gateway.domain.deploy import Deploy
from gateway.resources import _PACKAGE
from tests.admin_client import API, Admin
from tests.admin_fakes import NOW, PASSWORD

DOCUMENT = openapi.document()
OPERATIONS = [
    (path, method, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]
# Endpoints of which a good call leaves the fakes as the next one needs them, with what it sends.
GOOD_CALLS = {
    "report_events": {"events": [{"agent_id": "web-1", "kind": "deploy.finished"}]},
    "login": {"email": "ana@example.org", "password": PASSWORD},
    "reject_action": {"reason": "no"},
    "replay_limit": {"route": "orders", "limit": "5/s per subject"},
    "replay_detector": {"settings": {"z.p3": "3"}, "since": "7d"},
    "close_incident": {"reason": "over"},
    "create_user": {"email": "new@example.org", "password": PASSWORD},
    "change_user": {"role": "operator"},
    "create_silence": {"upstream": "payments", "ends_at": "2026-11-21T05:00:00Z", "why": "migration"},
    "receive_alerts": {"alerts": [{"id": "disk-7", "service": "payments"}]},
    "add_deploy": {"service": "payments", "version": "v2.3"},
    "add_runbook": {"id": "pool-full", "text": "---\ntitle: Pool\n---\nLook."},
    "revoke_id": {"id": "4f1c", "reason": "stolen"},
    "issue_key": {"subject": "backend", "tenant": "acme", "scopes": ["orders:read"]},
    "import_keys": {"keys": [{"digest": "ab" * 32, "subject": "backend", "tenant": "acme"}]},
    "check_configuration": {"text": "prot = 1"},
    "diff_configuration": {"text": "[server]"},
    "apply_configuration": {"text": "[server]", "note": "why"},
    "rollback_configuration": {"revision": 6, "note": "why"},
}
IDS = {
    "requests": "01JD0000000000000000000003",
    "incidents": "inc-1",
    "actions": "a-2",
    "users": "u-3",
    "runbooks": "pool",
    "dead-letters": "dl-1",
    "deploys": "de-1",
}


def refs(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from refs(inner)


def assert_fits(value, schema):
    """The value is what the document says; unlike msgspec, jsonschema wants local references resolvable."""
    whole = {**schema, "components": DOCUMENT["components"]}
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(value)]
    assert not errors


def test_every_route_of_the_api_is_in_the_document_and_the_other_way_round():
    served = {
        (route.path, method.lower())
        for route in Admin().app.routes
        if isinstance(route, Route) and route.path.startswith((PREFIX, "/v1/"))
        for method in route.methods - {"HEAD"}
    }
    assert served == {(path, method) for path, method, _ in OPERATIONS}


def test_the_document_is_openapi_3_1_in_form():
    assert DOCUMENT["openapi"].startswith("3.1")
    assert set(DOCUMENT) <= {"openapi", "info", "servers", "security", "tags", "paths", "components"}
    assert {"title", "version"} <= set(DOCUMENT["info"])
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))
    for path, _, operation in OPERATIONS:
        assert operation["summary"] and operation["description"]
        assert operation["responses"]
        declared = {row["name"] for row in operation.get("parameters", ()) if row["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))


def test_every_schema_is_sound_and_every_reference_leads_somewhere():
    schemas = DOCUMENT["components"]["schemas"]
    for name, schema in schemas.items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
        Draft202012Validator.check_schema(schema)
    for reference_ in refs(DOCUMENT):
        assert reference_.removeprefix("#/components/schemas/") in schemas
    named = {reference_.rpartition("/")[2] for reference_ in refs(DOCUMENT)}
    assert set(schemas) == named


# Set-up wants a link, and the live tail never ends; each has tests of its own.
NOT_ASKED = {"setup", "follow_requests", "live_events", "slack_interactions"}  # endless, once only, or signed
ANSWERING = [row for row in OPERATIONS if row[2]["operationId"] not in NOT_ASKED]


@pytest.mark.parametrize(("path", "method", "operation"), ANSWERING, ids=[row[2]["operationId"] for row in ANSWERING])
def test_a_good_answer_is_what_the_document_says(path, method, operation):
    name = operation["operationId"]
    admin = Admin()
    admin.fakes.letters.rows["dl-1"] = DeadLetter("dl-1", NOW, "grafana", "alerts", "is missing", 2, "{}")
    admin.fakes.deploys.rows["de-1"] = Deploy("de-1", "payments", "v2.3", NOW, NOW)
    filled = path.replace("{id}", IDS.get(path.removeprefix("/api").split("/")[2], "000000000001"))
    filled = filled.replace("{source}", "generic")
    answer = admin.as_("ana").request(method, filled, json=GOOD_CALLS.get(name))
    expected = next(iter(operation["responses"]))
    assert str(answer.status_code) == expected, answer.text
    content = operation["responses"][expected].get("content", {})
    if "text/markdown" in content:
        assert answer.headers["content-type"].startswith("text/markdown")
        assert answer.text
    elif content:
        assert_fits(answer.json(), content["application/json"]["schema"])
    else:
        assert answer.content == b""


def test_a_refusal_is_what_the_document_says():
    problem = {"$ref": "#/components/schemas/Problem"}
    for path in ("incidents", "nothing"):
        assert_fits(Admin().anonymous.get(f"{API}/{path}").json(), problem)


def test_whatever_changes_something_leaves_an_audit_line():
    silent = {row.name for row in ENDPOINTS if row.method != "GET" and not row.verb}
    by_session = {"login", "setup", "refresh", "logout"}  # sign-ins and sign-outs write their own
    by_port = {"approve_action", "reject_action", "close_incident", "apply_configuration", "rollback_configuration"}
    by_port |= {"acknowledge_incident", "take_back_action", "slack_interactions"}
    by_itself = {"report_events", "receive_alerts"}  # the event log and the alerts are trails of their own
    only_asking = {"check_configuration", "diff_configuration", "replay_limit", "replay_detector"}
    assert silent == by_session | by_port | by_itself | only_asking
    assert len({row.verb for row in ENDPOINTS if row.verb}) == len([row for row in ENDPOINTS if row.verb])


def test_the_served_document_is_this_one():
    assert Admin().anonymous.get("/openapi.json").json() == json.loads(json.dumps(DOCUMENT))


def test_the_reference_is_up_to_date():
    file = _PACKAGE.parent / "docs" / "reference" / "http-api.md"
    assert file.read_text() == reference.markdown(), (
        "run: python -m gateway.admin.reference > docs/reference/http-api.md"
    )


def test_the_page_of_the_documentation_names_every_operation():
    page = Admin().anonymous.get("/docs").text
    for path, _, operation in OPERATIONS:
        assert f'id="{operation["operationId"]}"' in page
        assert path in page

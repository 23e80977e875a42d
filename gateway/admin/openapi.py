"""The OpenAPI 3.1 document, made from the same table as the routes; ``sentinel openapi`` prints it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import __version__
from gateway.admin import problems
from gateway.admin.api.table import ENDPOINTS

if TYPE_CHECKING:
    from gateway.admin.api.endpoint import Endpoint

_REF = "#/components/schemas/{name}"
_LISTING = re.compile(r"\bListing_(\w+?)_$")
_PARAMETER = re.compile(r"{(\w+)}")


def document(endpoints: tuple[Endpoint, ...] = ENDPOINTS) -> dict[str, Any]:
    """The whole document, as plain values ready for JSON."""
    types = [kind for row in endpoints for kind in (row.query, row.body, row.reads, row.answer) if kind is not None]
    schemas, components = msgspec.json.schema_components([*types, problems.Problem], ref_template=_REF)
    refs = {str(kind): schema for kind, schema in zip([*types, problems.Problem], schemas, strict=True)}
    queries = {row.query.__name__ for row in endpoints if row.query is not None}
    paths: dict[str, dict[str, Any]] = {}
    for row in endpoints:
        paths.setdefault(row.prefix + row.path, {})[row.method.lower()] = _operation(row, refs, components)
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "SentinelStack",
            "version": __version__,
            "description": "The admin plane. Times are RFC 3339 UTC, durations say their unit, lists answer "
            '`{"items": […], "next": cursor|null}`, errors are RFC 9457 problem documents.',
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"cookie": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(row.tag for row in endpoints)],
        "paths": paths,
        "components": {
            "schemas": {
                name: schema
                for name, schema in sorted(components.items(), key=lambda item: _public(item[0]))
                if name not in queries
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token from /api/v1/auth/login."},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "sentinel_session",
                    "description": "For pages; whatever changes something also wants `X-CSRF-Token`. "
                    "Over HTTPS its name is `__Host-sentinel_session`.",
                },
            },
        },
    }
    renamed: dict[str, Any] = _renamed(whole)
    return renamed


def _renamed(value: Any) -> Any:
    """The same document under the names the public reads."""
    if isinstance(value, dict):
        return {
            _public(key): _public(item) if key in {"$ref", "title"} and isinstance(item, str) else _renamed(item)
            for key, item in value.items()
        }
    return [_renamed(item) for item in value] if isinstance(value, list) else value


def _public(name: str) -> str:
    """IncidentShape → Incident, Listing_IncidentRow_ → IncidentRowList (also at the end of a reference)."""
    name = _LISTING.sub(r"\1List", name)
    return name.replace("ShapeList", "List").removesuffix("Shape")


def _operation(row: Endpoint, refs: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.summary,
        "tags": [row.tag],
        "description": _description(row),
        "responses": _responses(row, refs),
    }
    if row.role is None:
        operation["security"] = []
    if parameters := [*_path_parameters(row), *_query_parameters(row, components)]:
        operation["parameters"] = parameters
    if (body := row.body or row.reads) is not None:
        required = bool(components[body.__name__].get("required"))
        operation["requestBody"] = {
            "required": required,
            "content": {"application/json": {"schema": refs[str(body)]}},
        }
    return operation


def _description(row: Endpoint) -> str:
    of_query = (row.query.__doc__ or "") if row.query is not None else ""
    return " ".join(f"{of_query} {_who(row)}".split())


def _who(row: Endpoint) -> str:
    if row.role is None:
        return "Open to everybody."
    limit = ", of no single tenant" if row.staff else ""
    token = f", or the token of [sources.{row.program}]" if row.program else ""
    return f"Needs the role {row.role} or higher{limit}{token}."


def _path_parameters(row: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(row.path)
    ]


def _query_parameters(row: Endpoint, components: dict[str, Any]) -> list[dict[str, Any]]:
    if row.query is None:
        return []
    properties = components[row.query.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _without_null(schema)}
        for name, schema in properties.items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is there or not; it is never null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    return kinds[0] if len(kinds) == 1 else schema


def _responses(row: Endpoint, refs: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {str(row.status): {"description": HTTPStatus(row.status).phrase}}
    if row.answer is not None:
        responses[str(row.status)]["content"] = {row.media_type: {"schema": refs[str(row.answer)]}}
    statuses = {422, 503, *row.errors}
    if row.role is not None:
        statuses |= {401, 403}
    if "{" in row.path:
        statuses.add(404)
    if row.body or row.reads:
        statuses.add(413)
    refusal = {"content": {problems.MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}}}
    for status in sorted(statuses):
        responses.setdefault(str(status), {"description": HTTPStatus(status).phrase, **refusal})
    if row.name == "get_health":  # it answers 503 in its own shape, so that a probe reads the reasons
        responses["503"]["content"] = {row.media_type: {"schema": refs[str(row.answer)]}}
    return responses

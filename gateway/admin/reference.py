"""docs/reference/http-api.md, written from the OpenAPI document: ``python -m gateway.admin.reference > FILE``."""

from __future__ import annotations

import sys
from typing import Any

from gateway.admin import openapi

_INTRODUCTION = """# HTTP API

Written by `python -m gateway.admin.reference` from the table of endpoints; a test holds the two together. The running
program serves the same as `/docs` and as OpenAPI 3.1 at `/openapi.json`; `sentinel openapi` prints it.

- The admin plane listens by itself, by default on `127.0.0.1:8001`.
- Programs sign in with `POST /api/v1/auth/login` and send `Authorization: Bearer <token>`. Pages use a cookie; what
  changes something then also wants the header `X-CSRF-Token` (from `GET /api/v1/auth/me`) and the same origin.
- Lists answer `{"items": [...], "next": cursor or null}`; hand `next` back as `cursor`.
- Times are RFC 3339 in UTC. Unknown parameters and fields are refused.
- Errors are problem documents (RFC 9457): `title`, `status`, `detail`, and where they help `remedy`, `field`,
  `problems`. 401: sign in. 403: the role is too low, or the request came from another site. 404: not there, or not
  yours. 409: somebody was first; `detail` says who. 413: larger than 1 MiB. 422: `field` is wrong. 429 and 503: try
  again after `Retry-After` seconds.
- A user with a tenant sees that tenant's requests, incidents, keys, users and numbers, and nothing else.

Beside the API: `GET /` names the service, `/health/live` and `/health/ready` are for probes, `/metrics` is for
Prometheus, `/dashboard` for people.

`/health/ready` and `/api/v1/health` answer `{"status": "ready", "version": ..., "reasons": []}`, or 503 with the status
"not ready" and one sentence for each reason. Workers go on proxying in all cases but the first:

- this node is stopping: what is under way is finished, nothing new is taken
- the store is away: records wait in the spool, incidents in the journal
- N entries of the journal are being carried over to the store, which was away
- the journal was full: N entries were dropped
"""


def markdown() -> str:
    """The whole page."""
    document = openapi.document()
    schemas = document["components"]["schemas"]
    parts = [_INTRODUCTION]
    for tag in (tag["name"] for tag in document["tags"]):
        parts.append(f"\n## {tag.capitalize()}\n")
        for path, methods in document["paths"].items():
            parts += [
                _operation(method, path, operation) for method, operation in methods.items() if tag in operation["tags"]
            ]
    parts.append("\n## Shapes\n")
    parts += [_shape(name, schema) for name, schema in schemas.items()]
    return "".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"\n### `{method.upper()} {path}`\n\n{operation['summary']} {operation['description']}\n"]
    if parameters := operation.get("parameters"):
        lines.append("\n")
        lines += [f"- `{row['name']}` ({row['in']}): {_type(row['schema'])}\n" for row in parameters]
    if "requestBody" in operation:
        lines.append(f"\nBody: {_type(operation['requestBody']['content']['application/json']['schema'])}\n")
    answers = []
    for status, answer in operation["responses"].items():
        kinds = [_type(media["schema"]) for media in answer.get("content", {}).values()]
        problem = kinds == ["[Problem](#problem)"]
        answers.append(status if problem or not kinds else f"{status} {kinds[0]}")
    lines.append(f"\nAnswers: {', '.join(answers)}\n")
    return "".join(lines)


def _shape(name: str, schema: dict[str, Any]) -> str:
    lines = [f"\n### {name}\n\n{schema.get('description', '')}\n"]
    if "enum" in schema:
        lines.append("\nOne of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".\n")
    needed = set(schema.get("required", ()))
    if properties := schema.get("properties"):
        lines.append("\n")
        lines += [
            f"- `{field}`{'' if field in needed else ' (optional)'}: {_type(kind)}\n"
            for field, kind in properties.items()
        ]
    return "".join(lines)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if kinds := schema.get("anyOf"):
        return " or ".join(_type(kind) for kind in kinds)
    if "enum" in schema:
        return ", ".join(f"`{value}`" if value else "empty" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if isinstance(schema.get("items"), dict) else "list"
    words = {"minimum": "from", "maximum": "to", "multipleOf": "multiple of", "maxLength": "at most", "format": "as"}
    limits = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return str(schema.get("type", "any")) + (f" ({', '.join(limits)})" if limits else "")


if __name__ == "__main__":
    sys.stdout.write(markdown())

"""/docs: the OpenAPI document as one page, rendered here; no script, no foreign host."""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem } h2 { margin: 2.5rem 0 .5rem; font-size: 1.15rem; text-transform: capitalize }
details { border-top: 1px solid var(--line); padding: .5rem 0 } summary { cursor: pointer; overflow-wrap: anywhere }
code, pre { font: .875rem/1.5 ui-monospace, monospace } pre { overflow-x: auto; padding: .75rem; border-radius: .4rem;
border: 1px solid var(--line) } .method { display: inline-block; min-width: 4.2rem; font-weight: 600 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top;
padding: .25rem .75rem .25rem 0; overflow-wrap: anywhere } .quiet { opacity: .75 }
"""


def page(document: dict[str, Any], nonce: str, *, prefix: str = "") -> str:
    """The page; every text out of the document is escaped."""
    schemas = document["components"]["schemas"]
    sections = []
    for tag in (tag["name"] for tag in document["tags"]):
        rows = [
            _operation(method, path, operation, schemas)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if tag in operation["tags"]
        ]
        sections.append(f"<h2>{escape(tag)}</h2>{''.join(rows)}")
    shapes = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>{_shape(schema)}</details>'
        for name, schema in schemas.items()
    )
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>SentinelStack API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style nonce="{escape(nonce)}">{_STYLE}</style></head><body>'
        f"<h1>SentinelStack API {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        f'<p>The same as <a href="{escape(prefix)}/openapi.json">OpenAPI 3.1</a>. Begin with:</p>'
        '<pre>curl -s localhost:8001/api/v1/auth/login -d \'{"email": "…", "password": "…"}\'</pre>'
        f"{''.join(sections)}<h2>Shapes</h2>{shapes}</body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    parts = [f'<p class="quiet">{escape(operation["description"])}</p>']
    if parameters := operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{escape(row['name'])}</code></td><td>{escape(row['in'])}</td>"
            f"<td>{_type(row['schema'])}</td></tr>"
            for row in parameters
        )
        parts.append(f"<table><tr><th>Parameter</th><th>In</th><th>Type</th></tr>{rows}</table>")
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        parts.append(f"<p>Body: {_type(schema)}</p>{_shape(schemas.get(_name(schema), schema))}")
    answers = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td><td>{_content(answer)}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    parts.append(f"<table><tr><th>Answer</th><th></th><th>Shape</th></tr>{answers}</table>")
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><span class="method">{method.upper()}</span> '
        f"<code>{escape(path)}</code> — {escape(operation['summary'])}</summary>{''.join(parts)}</details>"
    )


def _content(answer: dict[str, Any]) -> str:
    return "".join(f"{_type(media['schema'])} " for media in answer.get("content", {}).values())


def _shape(schema: dict[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' (required)' if name in needed else ''}</td><td>{_type(kind)}</td></tr>"
        for name, kind in schema.get("properties", {}).items()
    )
    values = ", ".join(escape(str(value)) for value in schema.get("enum", ()))
    return f"<p>{escape(schema.get('description', ''))} {values}</p><table>{rows}</table>"


def _name(schema: dict[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _type(schema: dict[str, Any]) -> str:
    if name := _name(schema):
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    if kinds := schema.get("anyOf"):
        return " or ".join(_type(kind) for kind in kinds)
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if isinstance(schema.get("items"), dict) else "list"
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    limits = ", ".join(
        f"{word} {escape(str(schema[key]))}"
        for key, word in (("minimum", "≥"), ("maximum", "≤"), ("maxLength", "at most"), ("format", "as"))
        if key in schema
    )
    return escape(str(schema.get("type", "any"))) + (f" ({limits})" if limits else "")

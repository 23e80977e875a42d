"""Reads single header fields, cookies and query parameters out of a request, in one way for every stage. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The value of the first field called ``name`` (lower case), or None."""
    for found, value in headers:
        if found == name:
            return value
    return None


def cookie(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The value of the first cookie called ``name``, without the quotes RFC 6265 §4.1.1 lets it wear; or None."""
    for field, text in headers:
        if field == b"cookie":
            for pair in text.split(b";"):
                found, equals, value = pair.partition(b"=")
                if equals and found.strip() == name:
                    value = value.strip()
                    return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else value
    return None


def sole_header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> tuple[bool, bytes | None]:
    """Whether the field is there, and its value unless it was sent with several."""
    return _sole([value for found, value in headers if found == name])


def sole_parameter(query: bytes, name: bytes) -> tuple[bool, bytes | None]:
    """Whether the query has the parameter, and its decoded value unless it was sent with several.

    Names and values are read as forms write them (WHATWG URL §5.1): "+" is a blank, a name alone has an empty value.
    """
    values = []
    for pair in query.split(b"&"):
        found, _, value = pair.partition(b"=")
        if _form_decoded(found) == name and (found or value):
            values.append(_form_decoded(value))
    return _sole(values)


def _sole(values: list[bytes]) -> tuple[bool, bytes | None]:
    # Who decides by the first of two values and forwards both lets the upstream decide by the second.
    return bool(values), values[0] if values and values.count(values[0]) == len(values) else None


def _form_decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" ")) if b"%" in text or b"+" in text else text

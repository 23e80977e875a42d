"""Opaque cursors: where a list goes on, as text that callers hand back unread."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, TypeVar

import msgspec
from sqlalchemy import and_, or_

from gateway.domain.paging import Page
from gateway.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from sqlalchemy import ColumnElement

T = TypeVar("T")

MAX_LIMIT = 500
Place = tuple[float, str]  # a time, and what tells rows of the same time apart

_decoder: msgspec.json.Decoder[Place] = msgspec.json.Decoder(Place)


def clamp(limit: int) -> int:
    """A page size between 1 and 500."""
    return max(1, min(limit, MAX_LIMIT))


def encode(at: float, tie: str) -> str:
    """A cursor that stands right after this row."""
    return base64.urlsafe_b64encode(msgspec.json.encode((at, tie))).decode().rstrip("=")


def decode(cursor: str) -> Place | None:
    """The row a list goes on after, or None for its beginning. Raises InvalidInputError."""
    if not cursor:
        return None
    try:
        return _decoder.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise InvalidInputError(
            "the cursor is not one of ours", field="cursor", remedy="begin again without a cursor"
        ) from error


def number(place: Place) -> int:
    """The tie of a list whose rows are told apart by a number. Raises InvalidInputError."""
    try:
        return int(place[1])
    except ValueError as error:
        raise InvalidInputError("the cursor belongs to another list", field="cursor") from error


def older(at: ColumnElement[float], tie: ColumnElement[Any], place: tuple[float, Any]) -> ColumnElement[bool]:
    """Rows that come after ``place`` in a list that begins with the newest."""
    return or_(at < place[0], and_(at == place[0], tie < place[1]))


def page(rows: Sequence[Any], limit: int, item: Callable[[Any], T], place: Callable[[Any], Place]) -> Page[T]:
    """A page out of ``limit + 1`` database rows: the one too many says that there is a next page."""
    following = encode(*place(rows[limit - 1])) if len(rows) > limit else None
    return Page(tuple(item(row) for row in rows[:limit]), following)

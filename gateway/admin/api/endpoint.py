"""One row of the table of endpoints, and how a row becomes a route: prove, read, check, call, audit, answer.

The same rows build the Starlette routes and the OpenAPI document, so the two cannot differ. A handler is a plain
function ``async (api, call) -> value``; it returns a value to be encoded, or a Response of its own (a live stream).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.admin import audited, problems, tenancy
from gateway.domain.audit import AuditEntry
from gateway.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.admin.api.live import LiveStreams
    from gateway.admin.api.numbers import Sparklines
    from gateway.admin.auth import Auth
    from gateway.admin.ports import AdminPorts
    from gateway.domain.identity import Actor, Role

PREFIX = "/api/v1"
_LONGEST_PARAMETER = 256
_NO_CONTENT = 204
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Api:
    """What every handler may use."""

    ports: AdminPorts
    auth: Auth
    live: LiveStreams
    sparklines: Sparklines


@dataclass(slots=True)
class Call:
    """One request, read and checked. A handler that changes something fills ``subject`` for the audit line."""

    request: Request
    query: Any = None  # an instance of the endpoint's query struct
    body: Any = None  # an instance of the endpoint's body struct
    subject: str = ""
    tenant: str = ""
    detail: dict[str, str] = field(default_factory=dict)

    def path(self, name: str) -> str:
        """A parameter of the path. Raises NotFoundError for what can be no id of ours."""
        value = str(self.request.path_params[name])
        if len(value) > _LONGEST_PARAMETER or not value.isprintable():
            raise NotFoundError("there is nothing with this id")
        return value


Handler = Callable[[Api, Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What the API takes and gives at one path and method.

    Attributes:
        role: who may; None for everybody.
        staff: refuse users of one tenant.
        program: the table of [sources] whose token is enough in place of a session; empty: none is.
        prefix: what stands before the path.
        query: struct of the query's parameters; every field is optional.
        body: struct of the JSON body.
        reads: what the body holds where the handler reads it by itself; then only for the documentation.
        answer: type of the answer; None for 204.
        media_type: of the answer, where it is not JSON.
        verb: name of the audit line written after success; empty for reading, and where the port or the session
            writes the line itself (see gateway.admin.audited).
        errors: statuses beyond the ones every endpoint may answer.
    """

    method: str
    path: str  # below /api/v1
    handler: Handler
    tag: str
    role: Role | None
    staff: bool = False
    program: str = ""
    prefix: str = PREFIX
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    reads: type[msgspec.Struct] | None = None
    answer: Any = None
    status: int = 200
    media_type: str = "application/json"
    verb: str = ""
    errors: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The operation's id: the handler's own name."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """What it does: the first sentence of the handler's docstring, with the rest of it behind."""
        return " ".join((self.handler.__doc__ or self.name).split())

    def route(self, api: Api) -> Route:
        """The Starlette route that serves this row."""

        async def serve(request: Request) -> Response:
            return await self._serve(api, request)

        return Route(self.prefix + self.path, serve, methods=[self.method], name=self.name)

    async def _serve(self, api: Api, request: Request) -> Response:
        if self.role is not None and not (self.program and api.auth.is_program(request, self.program)):
            caller = await api.auth.check(request, self.role)
            if self.staff:
                tenancy.staff_only(caller.actor)
        call = Call(request)
        call.query = _read_query(request, self.query)
        if self.body is not None:
            call.body = _read_body(await request.body(), self.body)
        answer = await self.handler(api, call)
        if self.verb:
            await _audit(api, call, self.verb)
        if isinstance(answer, Response):
            return answer
        if self.status == _NO_CONTENT:
            return Response(status_code=_NO_CONTENT)
        return Response(_encode(answer), self.status, media_type=self.media_type)


def actor_of(api: Api, call: Call) -> Actor:
    """Who acts."""
    return api.auth.actor(call.request)


async def _audit(api: Api, call: Call, verb: str) -> None:
    entry = AuditEntry(
        at=api.ports.clock(),
        actor=audited.name_of(actor_of(api, call)),
        verb=verb,
        subject=call.subject,
        tenant=call.tenant,
        detail=call.detail,
    )
    await audited.write(api.ports.audit, entry)


def _read_query(request: Request, shape: type[msgspec.Struct] | None) -> msgspec.Struct | None:
    """The query as the struct says; unknown and repeated parameters are refused, so that a typing error is seen."""
    known = shape.__struct_encode_fields__ if shape is not None else ()
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise InvalidInputError(f"the parameter {name[:60]} stands twice", field=name[:60])
        if len(value) > _LONGEST_PARAMETER or "\x00" in value:
            raise InvalidInputError(f"longer than {_LONGEST_PARAMETER} characters, or with NUL in it", field=name[:60])
        given[name] = value
    given = {name: value for name, value in given.items() if value or name not in known}  # an empty field means "any"
    if shape is None:
        if given:
            first = next(iter(given))[:60]
            raise InvalidInputError("this path takes no parameters", field=first, remedy="Leave the query out.")
        return None
    try:
        return msgspec.convert(given, shape, strict=False)
    except msgspec.ValidationError as error:
        raise problems.of_validation(error, what="query") from error


def _read_body(raw: bytes, shape: type[msgspec.Struct]) -> msgspec.Struct:
    """The JSON body as the struct says; an empty body is an empty object."""
    if b"\\u0000" in raw:  # PostgreSQL cannot keep NUL in a text
        raise InvalidInputError("the body holds a NUL character", remedy="Take \\u0000 out.")
    try:
        value = msgspec.json.decode(raw or b"{}", type=shape)
        _encode(value).decode("utf-8")
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        if isinstance(error, msgspec.MsgspecError):
            raise problems.of_validation(error, what="body") from error
        raise InvalidInputError("the body is not clean UTF-8 text, or is nested too deeply") from error
    return value

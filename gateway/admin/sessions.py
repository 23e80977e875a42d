"""Signing in and out, refreshing a session, and creating the first user; the API and the dashboard both call this."""

from __future__ import annotations

import re
import secrets
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import anyio
import anyio.to_thread
import msgspec

from gateway.admin import csrf
from gateway.domain.audit import AuditEntry
from gateway.domain.identity import Role, Session, User
from gateway.errors import ConflictError, ForbiddenError, InvalidInputError, TooManyAttemptsError, UnauthenticatedError
from gateway.identity import tokens
from gateway.identity.passwords import Passwords, check_rules
from gateway.identity.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from gateway.admin.auth import Caller
    from gateway.admin.ports import AdminPorts
    from gateway.identity.setup_link import SetupLink

LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3 less the angle brackets
_EMAIL = re.compile(r"[^\s@<>\"'\x00-\x1f\x7f]{1,64}@[^\s@<>\"'\x00-\x1f\x7f]{1,253}")
_MOST_WAITING = 32  # sign-ins waiting for a core; beyond it the answer is "later"
_HASHING_AT_ONCE = 2

P = ParamSpec("P")
T = TypeVar("T")


class SignedIn(msgspec.Struct, frozen=True):
    """A fresh session: hand ``token`` to the caller, once."""

    token: str
    session: Session
    user: User


class Sessions:
    """The one place where sessions begin and end.

    Args:
        ports: users, sessions, audit and clock.
        check: proves the caller of a request (Auth.check).
        setup_link: the one-time link of this node; None where no first user can be made (a second node).
        passwords: tests hand in a cheap one.
    """

    def __init__(
        self,
        ports: AdminPorts,
        check: Callable[[Request, Role], Awaitable[Caller]],
        *,
        setup_link: SetupLink | None = None,
        passwords: Passwords | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        self._ports = ports
        self._check = check
        self._setup_link = setup_link
        self._passwords = passwords or Passwords()
        self._throttle = throttle or Throttle()
        self._cores = anyio.CapacityLimiter(_HASHING_AT_ONCE)
        self._waiting = 0

    async def sign_in(self, request: Request, email: str, password: str) -> SignedIn:
        """Open a session.

        Raises:
            UnauthenticatedError: wrong name or password, or disabled; the answer and its time do not say which.
            TooManyAttemptsError: this account or address has to wait.
            ForbiddenError: another site made the browser ask.
        """
        csrf.check_origin(request, missing_ok=True)
        email = email.strip().lower()
        address = _address(request)
        self._throttle.begin(email, address, now=self._ports.clock())
        user = await self._ports.users.by_email(email) if len(email) <= LONGEST_EMAIL else None
        right = await self._in_thread(
            self._passwords.verify, password, user.password_hash if user is not None else None
        )
        if user is None or not right or user.disabled:
            failed = AuditEntry(
                at=self._ports.clock(),
                actor="anonymous",  # the name was typed by a stranger: a detail, not who acted
                verb="user.sign_in_failed",
                subject=f"address {address}",
                detail={"email": email[:LONGEST_EMAIL]},
            )
            await self._ports.audit.write(failed)
            raise UnauthenticatedError("the e-mail address or the password is wrong")
        self._throttle.succeeded(email, address)
        return await self._open(user, "user.signed_in")

    async def refresh(self, request: Request) -> SignedIn:
        """A new token in place of the caller's, which stops working. Raises UnauthenticatedError."""
        caller = await self._check(request, Role.VIEWER)
        session, user = _session_of(caller)
        token, fresh = tokens.rotated(session, now=self._ports.clock())
        await self._ports.users.open_session(fresh)
        await self._ports.users.close_session(session.digest)
        return SignedIn(token=token, session=fresh, user=user)

    async def sign_out(self, request: Request) -> None:
        """End the caller's session."""
        caller = await self._check(request, Role.VIEWER)
        session, user = _session_of(caller)
        await self._ports.users.close_session(session.digest)
        await self._audit(user.email, "user.signed_out", f"user {user.id}", user.tenant)

    def setup_is_open(self, token: str) -> bool:
        """Whether the set-up page has anything to offer for this token."""
        return self._setup_link is not None and self._setup_link.matches(token, now=self._ports.clock())

    async def set_up(self, request: Request, token: str, email: str, password: str) -> SignedIn:
        """Create the first administrator and sign in.

        Raises:
            ForbiddenError: the link is wrong, expired or used.
            ConflictError: there already is a user.
            InvalidInputError: e-mail address or password, with the field.
        """
        csrf.check_origin(request, missing_ok=True)
        if self._setup_link is None:
            raise ForbiddenError("this node makes no set-up links", remedy="Sign in, or use `sentinel user create`.")
        address = _address(request)
        self._throttle.begin("", address, now=self._ports.clock())
        email = checked_email(email)
        with self._setup_link.redeem(token, now=self._ports.clock()):
            if await self._ports.users.count():
                raise ConflictError("there already is a user", remedy="Sign in; an administrator can add you.")
            user = await self.new_user(email, password, Role.ADMIN)
            await self._ports.users.save(user)
        self._throttle.succeeded("", address)
        return await self._open(user, "user.set_up")

    async def new_user(self, email: str, password: str, role: Role, tenant: str = "") -> User:
        """A user value with a hashed password, not saved yet. Raises InvalidInputError."""
        email = checked_email(email)
        return User(
            id=f"u_{secrets.token_hex(8)}",
            email=email,
            role=role,
            password_hash=await self.hash(password, email=email),
            created_at=self._ports.clock(),
            tenant=tenant,
        )

    async def hash(self, password: str, *, email: str) -> str:
        """The hash of a password that keeps the rules. Raises InvalidInputError."""
        check_rules(password, email=email)
        return await self._in_thread(self._passwords.hash, password)

    async def _open(self, user: User, verb: str) -> SignedIn:
        token, session = tokens.open_session(user.id, now=self._ports.clock())
        await self._ports.users.open_session(session)
        await self._audit(user.email, verb, f"user {user.id}", user.tenant)
        return SignedIn(token=token, session=session, user=user)

    async def _audit(self, name: str, verb: str, subject: str, tenant: str = "") -> None:
        entry = AuditEntry(at=self._ports.clock(), actor=f"user {name}", verb=verb, subject=subject, tenant=tenant)
        await self._ports.audit.write(entry)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._waiting >= _MOST_WAITING:
            raise TooManyAttemptsError(
                "too many sign-ins at once", retry_after_s=2.0, remedy="Try again in a few seconds."
            )
        self._waiting += 1
        try:
            return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._cores)
        finally:
            self._waiting -= 1


def checked_email(text: str) -> str:
    """The address in lower case. Raises InvalidInputError."""
    email = text.strip().lower()
    if len(email) > LONGEST_EMAIL or not _EMAIL.fullmatch(email):
        raise InvalidInputError("this is not an e-mail address", field="email", remedy="Write it as name@example.org.")
    return email


def _session_of(caller: Caller) -> tuple[Session, User]:
    if caller.session is None or caller.user is None:
        raise UnauthenticatedError("the local socket has no session to end or refresh")
    return caller.session, caller.user


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else "local"

"""A client of the admin application with the in-memory ports behind it; ``Admin().as_("otto")`` signs somebody in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.testclient import TestClient

from gateway.admin.application import build
from gateway.admin.auth import Auth
from gateway.identity import tokens
from tests.admin_fakes import QUICK, FakeAdmin

if TYPE_CHECKING:
    from httpx2 import Response

ORIGIN = "http://testserver"
API = "/api/v1"


class Admin:
    """The application, its fakes, and clients of it."""

    def __init__(self, *, secure: bool = False, setup_link: Any = None, **options: Any) -> None:
        self.fakes = FakeAdmin()
        self.auth = Auth(self.fakes.ports, passwords=QUICK, secure=secure, setup_link=setup_link)
        self.app = build(self.fakes.ports, self.auth, **options)
        self.anonymous = TestClient(self.app, raise_server_exceptions=False, base_url=ORIGIN)

    def token_of(self, name: str) -> str:
        """A session of ``name@example.org``, opened without a password."""
        user = next(user for user in self.fakes.users.rows.values() if user.email == f"{name}@example.org")
        token, session = tokens.open_session(user.id, now=self.fakes.clock())
        self.fakes.users.sessions[session.digest] = session
        return token

    def as_(self, name: str) -> TestClient:
        """A client with that user's bearer token."""
        return TestClient(
            self.app,
            raise_server_exceptions=False,
            base_url=ORIGIN,
            headers={"Authorization": f"Bearer {self.token_of(name)}"},
        )

    def with_cookie(self, name: str) -> tuple[TestClient, str]:
        """A client with that user's cookie, and its form token."""
        token = self.token_of(name)
        client = TestClient(self.app, raise_server_exceptions=False, base_url=ORIGIN)
        client.cookies.set("sentinel_session", token)
        return client, tokens.csrf_of(token)

    @property
    def verbs(self) -> list[str]:
        """Verbs of the audit lines, newest first."""
        return [entry.verb for entry in self.fakes.audit.rows]


def path_of(row: Any, of: str = "some-id") -> str:
    """The path of an endpoint, with that id in it."""
    path: str = row.prefix + row.path
    return path.replace("{id}", of).replace("{agent_id}", "web-1")


def assert_problem(answer: Response, status: int, *, field: str | None = None) -> dict[str, Any]:
    """The answer is a problem document of that status and says something, but no stack trace."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["detail"]
    assert "Traceback" not in answer.text
    if field is not None:
        assert document.get("field", "") == field
    return document

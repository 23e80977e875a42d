"""``sentinel user|key|token …``: who may use the dashboard, and who may call."""

from __future__ import annotations

import getpass
import os
import secrets
import sys
import time
from typing import Annotated
from urllib.parse import quote

import jwt
import typer

from gateway.cli import terminal
from gateway.cli.control_client import connect
from gateway.cli.terminal import ConfigOption, JsonOption
from gateway.jwk import from_secret
from gateway.settings import Settings

SECRET_ENV = "SENTINEL_JWT_SECRET"  # noqa: S105 - the name of a variable

users = typer.Typer(no_args_is_help=True, help="Dashboard users. Example: sentinel user create ana@example.org")
keys = typer.Typer(no_args_is_help=True, help="API keys of callers. Example: sentinel key create --tenant acme")
tokens = typer.Typer(no_args_is_help=True, help="JSON Web Tokens: revoke them, or issue one for trying things out.")


@users.command("create")
def create_user(
    email: Annotated[str, typer.Argument(help="Sign-in name.")],
    *,
    role: Annotated[str, typer.Option(help="viewer, operator or admin.")] = "viewer",
    tenant: Annotated[str, typer.Option(help="See only this tenant; all when left out.")] = "",
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Add a user. The password is asked for, or read from the first line of standard input."""
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    body = {"email": email, "role": role, "tenant": tenant, "password": password}
    user = connect(config).call("POST", "/api/v1/users", body=body)
    terminal.print_json(user) if as_json else terminal.good(f"user {email} ({role}) may sign in")


@users.command("list")
def list_users(config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Every user."""
    page = connect(config).call("GET", "/api/v1/users", query={"limit": 500})
    if as_json:
        terminal.print_json(page)
    else:
        rows = [(user["id"], user["email"], user["role"], user["tenant"] or "all") for user in page["items"]]
        terminal.table(("id", "email", "role", "tenant"), rows)


@users.command("delete")
def delete_user(
    user: Annotated[str, typer.Argument(help="Id, as `sentinel user list` prints it.")],
    config: ConfigOption = "sentinel.toml",
) -> None:
    """Remove a user and end their sessions."""
    connect(config).call("DELETE", f"/api/v1/users/{user}")
    terminal.good(f"user {user} is gone")


@keys.command("create")
def create_key(
    *,
    tenant: Annotated[str, typer.Option(help="Whom the key belongs to.")],
    subject: Annotated[str, typer.Option(help="Name in records and limits; the key's id when left out.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="A scope it carries; may be given several times.")] = None,
    days: Annotated[int, typer.Option(min=0, help="Expires after so many days; 0: never.")] = 0,
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Issue an API key. Its text is shown once and kept nowhere."""
    body: dict[str, object] = {"tenant": tenant, "subject": subject, "scopes": scope or []}
    if days:
        body["expires_in_s"] = days * 86400
    made = connect(config).call("POST", "/api/v1/keys", body=body)
    if as_json:
        terminal.print_json(made)
    else:
        print(made["key"])  # noqa: T201 - alone on standard output, so that it can be piped
        terminal.err.print(f"key {made['id']}; this is the only time its text is shown")


@keys.command("list")
def list_keys(config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Every key that is in force, by its public id."""
    page = connect(config).call("GET", "/api/v1/keys", query={"limit": 500})
    if as_json:
        terminal.print_json(page)
    else:
        rows = [
            (key["id"], key["tenant"], key["subject"], " ".join(key["scopes"]), terminal.time_of(key["expires_at"]))
            for key in page["items"]
        ]
        terminal.table(("id", "tenant", "subject", "scopes", "expires (UTC)"), rows)


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="Public id of the key.")],
    config: ConfigOption = "sentinel.toml",
) -> None:
    """Make a key worthless within a second, on every worker."""
    connect(config).call("DELETE", f"/api/v1/keys/{key}")
    terminal.good(f"key {key} is revoked")


@tokens.command("revoke")
def revoke_token(
    token: Annotated[str, typer.Argument(metavar="JTI", help="Its jti; of a client certificate the serial, in hex.")],
    *,
    until: Annotated[str, typer.Option(help="RFC 3339 time it has expired by; a year from now when left out.")] = "",
    reason: Annotated[str, typer.Option(help="Why; kept with it and in the audit trail.")] = "",
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Refuse a token within a second. Example: sentinel token revoke 4f1c --until 2030-01-01T00:00:00Z"""
    body = {"id": token, "reason": reason, **({"expires_at": until} if until else {})}
    made = connect(config).call("POST", "/api/v1/revocations", body=body)
    if as_json:
        terminal.print_json(made)
    else:
        terminal.good(f"{token} is refused until {terminal.time_of(made['expires_at'])} UTC")


@tokens.command("revoked")
def list_revoked_tokens(config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """What is refused though it has not expired. Example: sentinel token revoked --json"""
    page = connect(config).call("GET", "/api/v1/revocations", query={"limit": 500})
    if as_json:
        terminal.print_json(page)
    else:
        rows = [
            (one["id"], terminal.time_of(one["created_at"]), terminal.time_of(one["expires_at"]), one["reason"])
            for one in page["items"]
        ]
        terminal.table(("id", "since (UTC)", "until (UTC)", "reason"), rows)


@tokens.command("restore")
def restore_token(
    token: Annotated[str, typer.Argument(metavar="JTI", help="As `sentinel token revoked` prints it.")],
    config: ConfigOption = "sentinel.toml",
) -> None:
    """Take a revocation back. Example: sentinel token restore 4f1c"""
    connect(config).call("DELETE", f"/api/v1/revocations/{quote(token, safe='')}")
    terminal.good(f"{token} is good again, unless it has expired")


@tokens.command("issue")
def issue_token(
    subject: Annotated[str, typer.Argument(help="The `sub` claim.")],
    *,
    tenant: Annotated[str, typer.Option(help="The `tenant` claim.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="A scope; may be given several times.")] = None,
    minutes: Annotated[int, typer.Option(min=1, max=1440)] = 60,
    secret_env: Annotated[str, typer.Option(help="Variable that holds the HS256 secret.")] = SECRET_ENV,
) -> None:
    """Sign an HS256 token with the gateway's own secret, to try a route by hand."""
    secret = Settings.from_environ(os.environ).secret(secret_env)
    if not secret:
        terminal.fail(f"{secret_env} is not set", f"export {secret_env}=$(openssl rand -base64 48)")
    # The variable may hold a set of secrets; the first one signs, as an issuer would put its newest one first.
    key = next((one for one in from_secret(secret_env, secret).keys if "HS256" in one.algorithms), None)
    if key is None or not isinstance(key.material, bytes):
        terminal.fail(f"{secret_env} holds no secret for HS256", "put a key of at least 32 bytes into the set")
    now = int(time.time())
    claims = {"sub": subject, "tenant": tenant, "scope": " ".join(scope or []), "iat": now, "exp": now + 60 * minutes}
    claims["jti"] = secrets.token_hex(8)  # what `sentinel token revoke` takes
    print(jwt.encode(claims, key.material, algorithm="HS256", headers={"kid": key.kid} if key.kid else None))  # noqa: T201 - the result

"""Roles of tokens, and who a client certificate speaks for."""

from __future__ import annotations

import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.domain.access import AuthMode, JwtPolicy
from gateway.edge import authenticate
from gateway.edge.client_certificate import MAX_NAME, principal_of
from gateway.edge.exchange import Refusal
from gateway.errors import UnauthenticatedError
from tests.certificates import Authority
from tests.tokens import signed
from tests.unit.edge.edge_values import SECRET, exchange, route, snapshot, steps


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def hs256(claims):
    return signed(claims, SECRET, "HS256").encode()


def der(authority, *names, **given):
    certificate, _ = authority.sign(*names, **given)
    return certificate.public_bytes(Encoding.DER)


def test_the_subject_is_the_first_uri(authority):
    shown = der(authority, ("CN", "robot"), uris=("spiffe://acme/robot", "https://robot.example"))
    assert principal_of(shown).subject == "spiffe://acme/robot"


def test_without_a_uri_it_is_the_common_name(authority):
    found = principal_of(der(authority, ("CN", "robot"), ("O", "acme"), ("OU", "billing"), ("OU", "Site Admin")))
    assert (found.kind, found.subject, found.tenant) == ("certificate", "robot", "acme")
    assert found.roles == {"billing", "Site Admin"}


def test_the_serial_number_is_the_key_id_and_the_end_the_expiry(authority):
    certificate, _ = authority.sign(("CN", "robot"))
    found = principal_of(certificate.public_bytes(Encoding.DER))
    assert int(found.key_id, 16) == certificate.serial_number
    assert found.expires_at == certificate.not_valid_after_utc.timestamp()


def test_a_certificate_that_names_nobody_is_refused(authority):
    with pytest.raises(UnauthenticatedError, match="names nobody"):
        principal_of(der(authority, ("O", "acme")))


def test_what_is_no_certificate_is_refused():
    with pytest.raises(UnauthenticatedError, match="cannot be read"):
        principal_of(b"\x30\x03\x02\x01\x00")


def test_names_without_end_are_refused(authority):
    with pytest.raises(UnauthenticatedError, match="too long"):
        principal_of(der(authority, ("CN", "robot"), uris=("urn:" + "a" * MAX_NAME,)))


def judged(wired, **changes):
    made = exchange(wired, **changes)
    return made, wired.admit(made, lambda outcome: None)


CERTIFIED = route(auth=AuthMode.CERTIFICATE)
ANY = route(auth=AuthMode.ANY)


def test_a_route_for_certificates_takes_no_token(authority):
    wired = steps(snapshot(CERTIFIED, jwt=(JwtPolicy(secret_env="X"),)))
    token = hs256({"sub": "a", "exp": time.time() + 60})
    assert judged(wired, extra=[(b"authorization", b"Bearer " + token)])[1].status == 401
    made, outcome = judged(wired, certificate=der(authority, ("CN", "robot")))
    assert outcome is None and made.principal.subject == "robot"


def test_any_takes_a_certificate_but_a_token_that_was_sent_decides(authority):
    wired = steps(snapshot(ANY, jwt=(JwtPolicy(secret_env="X"),)))
    shown = der(authority, ("CN", "robot"))
    assert judged(wired, certificate=shown)[0].principal.kind == "certificate"
    token = hs256({"sub": "a", "exp": time.time() + 60})
    fields = [(b"authorization", b"Bearer " + token)]
    assert judged(wired, certificate=shown, extra=fields)[0].principal.kind == "jwt"
    assert judged(wired, certificate=shown, extra=[(b"authorization", b"Bearer x")])[1].status == 401


def test_a_revoked_serial_number_is_refused(authority):
    shown = der(authority, ("CN", "robot"))
    revoked = frozenset({principal_of(shown).key_id})
    assert judged(steps(snapshot(CERTIFIED, revoked=revoked)), certificate=shown)[1].status == 401


def test_a_certificate_that_ended_while_its_connection_was_open_is_refused(authority):
    shown = der(authority, ("CN", "robot"))
    wired = steps(snapshot(CERTIFIED), clock=lambda: principal_of(shown).expires_at)
    refusal = judged(wired, certificate=shown)[1]
    assert refusal.status == 401 and "expired" in refusal.detail


def test_certificates_do_not_pile_up(authority, monkeypatch):
    monkeypatch.setattr(authenticate, "MAX_CACHED_CERTIFICATES", 2)
    wired = steps(snapshot(CERTIFIED))
    for _ in range(5):
        judged(wired, certificate=der(authority, ("CN", "robot")))
    assert len(wired.runtime.authenticator._certificates) <= 2


def with_roles(claims, *, needed=("admin",), claim=("roles",)):
    wired = steps(
        snapshot(
            route(auth=AuthMode.JWT, roles=frozenset(needed)), jwt=(JwtPolicy(secret_env="X", roles_claims=claim),)
        )
    )
    token = hs256({"sub": "a", "exp": time.time() + 60, **claims})
    return judged(wired, extra=[(b"authorization", b"Bearer " + token)])[1]


def test_one_of_the_routes_roles_is_enough():
    assert with_roles({"roles": ["staff", "admin"]}, needed=("admin", "owner")) is None


def test_without_any_of_them_the_answer_names_what_is_needed():
    refusal = with_roles({"roles": ["staff"]})
    assert isinstance(refusal, Refusal)
    assert refusal.status == 403 and "admin" in refusal.detail and "staff" not in refusal.detail


def test_a_single_role_may_stand_alone_and_is_not_split():
    assert with_roles({"roles": "admin"}) is None
    assert with_roles({"roles": "site admin"}).status == 403


def test_a_claim_may_lie_in_nested_objects():
    assert with_roles({"realm_access": {"roles": ["admin"]}}, claim=("realm_access.roles",)) is None


@pytest.mark.parametrize("claim", [{"admin": True}, 7, None, [["admin"]]])
def test_a_claim_of_another_shape_grants_nothing(claim):
    assert with_roles({"roles": claim}).status == 403

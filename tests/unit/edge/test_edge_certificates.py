"""TLS files: what is wrong with them in plain words, when they are read again, and when a warning is due."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from gateway.domain.access import ServerTls
from gateway.edge import middleware
from gateway.edge.certificates import DAY_S, Certificates, context
from gateway.errors import ConfigError
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def tls(authority, name="server", *, days=30, **changes):
    certificate, key = authority.files(name, ("CN", name), days=days)
    return ServerTls(**({"certificate_file": certificate, "key_file": key} | changes))


def test_only_what_is_safe_today_is_spoken(authority):
    made = context(tls(authority))
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2
    names = {cipher["name"] for cipher in made.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
    assert names and all(name.startswith("ECDHE") and ("GCM" in name or "POLY1305" in name) for name in names)
    assert made.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(("how", "mode"), [("optional", ssl.CERT_OPTIONAL), ("required", ssl.CERT_REQUIRED)])
def test_client_certificates_are_asked_for_as_told(authority, how, mode):
    assert context(tls(authority, client_ca_file=str(authority.file), client_certificates=how)).verify_mode is mode


def test_a_key_of_another_certificate_is_named_as_such(authority):
    given, other = tls(authority), tls(authority, "other")
    with pytest.raises(ConfigError, match="does not belong to the certificate"):
        context(ServerTls(certificate_file=given.certificate_file, key_file=other.key_file))


def test_an_encrypted_key_is_refused_instead_of_asking_the_terminal(authority):
    given = tls(authority)
    key = load_pem_private_key(Path(given.key_file).read_bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    Path(given.key_file).write_bytes(encrypted)
    with pytest.raises(ConfigError, match="encrypted"):
        context(given)


@pytest.mark.parametrize("field", ["certificate_file", "key_file", "client_ca_file"])
def test_a_missing_file_is_named(authority, field):
    with pytest.raises(ConfigError, match=r"nowhere.*No such file"):
        context(tls(authority, **{field: "/nowhere.pem", "client_certificates": "required"}))


def test_nothing_is_read_again_while_nothing_changes(authority):
    certificates = Certificates(tls(authority))
    before = certificates.current
    assert not certificates.look() and certificates.current is before


def test_a_new_authority_of_clients_is_a_new_context(authority):
    given = tls(authority, client_ca_file=str(authority.file), client_certificates="required")
    certificates = Certificates(given)
    authority.file.write_bytes(authority.file.read_bytes() * 2)
    assert certificates.look()


def test_bad_files_are_told_of_once_and_good_ones_taken_up(authority):
    given = tls(authority)
    certificates = Certificates(given)
    before = certificates.current
    Path(given.certificate_file).write_text("half")
    with capture_logs() as logged:
        assert not certificates.look() and not certificates.look()
    assert [line["event"] for line in logged] == ["certificate.refused"]
    assert certificates.current is before
    tls(authority)
    assert certificates.look() and certificates.current is not before


def test_a_snapshot_with_files_that_cannot_be_used_changes_nothing(authority):
    certificates = Certificates(tls(authority))
    before = certificates.current
    certificates.apply(ServerTls(certificate_file="/nowhere.pem", key_file="/nowhere.key"))
    assert certificates.current is before and not certificates.look()


def test_a_snapshot_without_tls_ends_it(authority):
    certificates = Certificates(tls(authority))
    certificates.apply(None)
    assert certificates.current is None and not certificates.look()


def test_a_certificate_that_ends_soon_is_warned_of_once_a_day(authority):
    now = [0.0]
    given = tls(authority, days=10)
    certificates = Certificates(given, clock=lambda: now[0])
    now[0] = certificates._expires_at - 5 * DAY_S
    with capture_logs() as logged:
        for hours in range(0, 48, 6):
            now[0] = certificates._expires_at - 5 * DAY_S + hours * 3600
            certificates.look()
    assert [line["event"] for line in logged] == ["certificate.expires_soon"] * 2


def test_other_asgi_servers_hand_over_the_certificate_they_verified(authority):
    given = tls(authority)
    pem = Path(given.certificate_file).read_text()
    chain = {"client_cert_chain": [pem], "client_cert_error": None}
    assert middleware._certificate({"extensions": {"tls": chain}}) == ssl.PEM_cert_to_DER_cert(pem)
    assert middleware._certificate({"extensions": {"tls": chain | {"client_cert_error": "unknown CA"}}}) == b""
    assert middleware._certificate({"extensions": {"tls": {"client_cert_chain": []}}}) == b""
    assert middleware._certificate({"extensions": {}}) == b""

"""[server.tls] and upstreams.tls: files that a worker could not use are found before it tries."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.config.checking import check_text
from gateway.domain.access import AuthMode, ServerTls
from gateway.domain.upstreams import UpstreamTls
from gateway.settings import Settings

NOW = dt.datetime.now(dt.UTC)
SERVER = '[server.tls]\ncertificate = "server.pem"\nkey = "server.key"\n'


def key_pem(key, password=None):
    secrecy = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secrecy)


def certificate_pem(key, *, begins=-1.0, ends=90.0):
    """A certificate in force from ``begins`` to ``ends``, in days from now."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW + dt.timedelta(days=begins))
        .not_valid_after(NOW + dt.timedelta(days=ends))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def folder(tmp_path, key):
    (tmp_path / "server.key").write_bytes(key_pem(key))
    (tmp_path / "server.pem").write_bytes(certificate_pem(key))
    return tmp_path


def check(text, folder):
    return check_text(text, "sentinel.toml", Settings.from_environ({}), folder=folder)


def errors(text, folder):
    return [str(error) for error in check(text, folder).errors]


def test_a_good_pair_is_compiled_by_the_names_of_its_files(folder):
    found = check(SERVER + 'client_ca = "server.pem"\nclient_certificates = "required"\nmin_version = "1.3"\n', folder)
    assert found.errors == ()
    assert found.snapshot.policy.tls == ServerTls("server.pem", "server.key", "server.pem", "required", "1.3")


def test_with_tls_the_usual_security_headers_hold_browsers_to_it(folder):
    found = check("[server]\nsecurity_headers = true\n" + SERVER, folder)
    assert dict(found.snapshot.policy.security_headers)["strict-transport-security"] == "max-age=31536000"


def test_a_route_may_ask_for_certificates_where_the_server_does(folder):
    text = SERVER + 'client_ca = "server.pem"\nclient_certificates = "optional"\n'
    text += '[[upstreams]]\nname = "a"\ntargets = ["http://a:1"]\n'
    text += '[[routes]]\nname = "a"\nmatch = { path = "/*" }\nupstream = "a"\nauth = "certificate"\nroles = ["ops"]\n'
    assert check(text, folder).snapshot.routes[0].auth is AuthMode.CERTIFICATE


def test_a_key_of_another_certificate_is_told(folder):
    (folder / "server.key").write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1())))
    (found,) = errors(SERVER, folder)
    assert found.startswith('sentinel.toml:3:7: the key in "server.key" is not the one of the first certificate')


def test_an_encrypted_key_is_told(folder, key):
    (folder / "server.key").write_bytes(key_pem(key, b"hunter2"))
    (found,) = errors(SERVER, folder)
    assert "is encrypted" in found


def test_what_is_no_key_is_told(folder):
    (folder / "server.key").write_text("nonsense")
    assert errors(SERVER, folder)[0].startswith('sentinel.toml:3:7: "server.key" is not a private key in PEM form')


def test_what_is_no_certificate_is_told(folder, key):
    (folder / "server.pem").write_bytes(key_pem(key))
    assert errors(SERVER, folder)[0].startswith('sentinel.toml:2:15: "server.pem" holds no certificate in PEM form')


def test_an_expired_certificate_is_an_error(folder, key):
    (folder / "server.pem").write_bytes(certificate_pem(key, begins=-9.0, ends=-2.0))
    (found,) = errors(SERVER, folder)
    assert f"expired on {NOW - dt.timedelta(days=2):%Y-%m-%d}" in found


def test_a_certificate_that_has_not_begun_is_an_error(folder, key):
    (folder / "server.pem").write_bytes(certificate_pem(key, begins=2.0))
    assert "only begins on" in errors(SERVER, folder)[0]


def test_a_certificate_that_ends_within_two_weeks_is_a_warning(folder, key):
    (folder / "server.pem").write_bytes(certificate_pem(key, ends=10.5))
    found = check(SERVER, folder)
    assert found.errors == ()
    assert [str(warning).partition(", on")[0] for warning in found.warnings if "expires" in str(warning)] == [
        'sentinel.toml:2:15: the certificate in "server.pem" expires in 10 days'
    ]


def test_a_client_authority_that_nobody_is_asked_about_is_an_error(folder):
    (found,) = errors(SERVER + 'client_ca = "server.pem"\n', folder)
    assert 'client_certificates = "off" asks nobody' in found


def test_files_of_an_upstream_are_judged_and_named(folder):
    text = '[[upstreams]]\nname = "a"\ntargets = ["https://a"]\n'
    good = text + 'tls = { ca = "server.pem", certificate = "server.pem", key = "server.key", server_name = "b" }\n'
    assert check(good, folder).snapshot.upstreams[0].tls == UpstreamTls("server.pem", "server.pem", "server.key", "b")
    (found,) = errors(text + 'tls = { ca = "server.key" }\n', folder)
    assert '"server.key" holds no certificate' in found


def test_https_on_a_shared_port_is_where_people_are_sent(folder):
    from gateway.config import compile as compiling

    text = SERVER + '[admin]\nbind = "shared"\nmetrics = "token"\n'
    found = check_text(text, "sentinel.toml", Settings.from_environ({"SENTINEL_METRICS_TOKEN": "t"}), folder=folder)
    assert compiling.admin_url(found.configuration.document) == "https://127.0.0.1:8000"

"""The connection goes to the judged address, and the certificate is still checked against the name."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.errors import DeliveryError
from gateway.notify.http_post import Poster
from tests.integration.notify.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
NAME = "hooks.example"


def certificate(folder: Path) -> Path:
    """A certificate for NAME that is its own authority, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


@pytest.fixture
async def secure(tmp_path: Path, anyio_backend: str) -> AsyncIterator[tuple[Receiver, Path]]:
    file = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    yield receiver, file
    server.close()
    await asyncio.sleep(0)


@pytest.fixture
def everything_is_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(_self: object, _host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)


async def post(url: str, trusted: Path | None) -> int:
    async with Poster(verify=ssl.create_default_context(cafile=trusted) if trusted else None) as poster:
        return (await poster.post(url, b"{}", {}, 0.0)).status


@pytest.mark.usefixtures("everything_is_loopback")
async def test_a_certificate_for_the_name_is_accepted(secure: tuple[Receiver, Path]) -> None:
    receiver, file = secure
    assert await post(f"https://{NAME}:{receiver.port}/", file) == 200
    assert receiver.received[0].headers["host"] == f"{NAME}:{receiver.port}"


@pytest.mark.usefixtures("everything_is_loopback")
async def test_a_certificate_for_another_name_is_refused(secure: tuple[Receiver, Path]) -> None:
    receiver, file = secure
    with pytest.raises(DeliveryError, match="cannot be reached"):
        await post(f"https://other.example:{receiver.port}/", file)
    assert receiver.received == []


@pytest.mark.usefixtures("everything_is_loopback")
async def test_a_certificate_nobody_vouches_for_is_refused(secure: tuple[Receiver, Path]) -> None:
    receiver, _ = secure
    with pytest.raises(DeliveryError, match="cannot be reached"):
        await post(f"https://{NAME}:{receiver.port}/", None)
    assert receiver.received == []

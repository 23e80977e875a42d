"""The link over TLS and over a Unix socket, against a peer of a few lines that speaks enough of the protocol."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from contextlib import asynccontextmanager

import hiredis
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.edge.redis_link import LinkLostError, RedisLink

pytestmark = pytest.mark.anyio


class Peer:
    """Answers OK to everything and remembers what was said."""

    def __init__(self) -> None:
        self.heard: list[list[bytes]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader, writer) -> None:
        self._writers.append(writer)
        parser = hiredis.Reader()
        while data := await reader.read(65536):
            parser.feed(data)
            while (command := parser.gets()) is not False:
                self.heard.append(command)
                writer.write(b"+OK\r\n")
        writer.close()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate for 127.0.0.1 and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "redis.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


@asynccontextmanager
async def linked(url: str):
    link = RedisLink(url, b"return 1")
    link.start()
    try:
        yield link
    finally:
        await link.close()


async def until(ready) -> None:
    async with asyncio.timeout(5):
        while not ready():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)


async def test_tls_is_spoken_to_a_server_whose_certificate_is_trusted_and_to_no_other(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    peer = Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with linked(f"rediss://ana:secret@127.0.0.1:{port}/2?ssl_ca_certs={certificate}") as link:
        await until(lambda: link.ready)
    assert peer.heard == [[b"AUTH", b"ana", b"secret"], [b"SELECT", b"2"], [b"SCRIPT", b"LOAD", b"return 1"]]
    peer.heard.clear()
    async with linked(f"rediss://127.0.0.1:{port}") as link:
        await asyncio.sleep(0.3)
        assert not link.ready
    assert peer.heard == []
    server.close()


async def test_a_unix_socket_serves_and_a_lost_connection_tells_every_handler_and_is_made_again(tmp_path):
    peer = Peer()
    server = await asyncio.start_unix_server(peer.serve, tmp_path / "redis.sock")
    replies = []
    async with linked(f"unix://{tmp_path}/redis.sock") as link:
        await until(lambda: link.ready)
        peer.hang_up()
        link.send(b"*1\r\n$4\r\nPING\r\n", replies.append)
        await until(lambda: replies)
        assert isinstance(replies[0], LinkLostError)
        await until(lambda: link.ready)
        link.send(b"*1\r\n$4\r\nPING\r\n", replies.append)
        await until(lambda: len(replies) == 2)
        assert replies[1] == b"OK"
    server.close()

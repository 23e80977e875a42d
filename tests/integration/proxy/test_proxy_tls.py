"""TLS towards upstreams, against real TLS servers: who is believed, what is shown, and what a change of files does."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from contextlib import asynccontextmanager

import msgspec
import pytest

from gateway.domain.upstreams import HealthCheck, Timeouts, Upstream, UpstreamTls
from gateway.proxy.health import Prober
from gateway.proxy.tls import TlsUnusableError, UpstreamContext, make_context, server_name
from tests.certificates import Authority
from tests.integration.proxy.scripted_origin import PATIENT, Origin, Peer, Proxy, answering, ok

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "Unknown authority")


@pytest.fixture(scope="session")
def certificate(authority) -> tuple[str, str]:
    return authority.files("orders")


@pytest.fixture
def logged(monkeypatch):
    said: list[tuple[str, dict[str, object]]] = []

    class Log:
        def warning(self, event, **fields):
            said.append((event, fields))

        info = warning

    monkeypatch.setattr("gateway.proxy.tls._log", Log())
    return said


def serving(certificate: tuple[str, str], **changes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    for name, value in changes.items():
        setattr(context, name, value)
    return context


@asynccontextmanager
async def trusting(origin: Origin, settings: UpstreamTls, *, timeouts: Timeouts = PATIENT, **changes):
    target = msgspec.structs.replace(origin.target, **changes)
    proxy = Proxy(Upstream("orders", (target,), timeouts, tls=settings))
    try:
        yield proxy
    finally:
        await proxy.forwarder.close()


async def test_a_verified_upstream_answers_and_its_connection_is_used_again(authority, certificate):
    async with (
        Origin(answering(ok())).listening(tls=serving(certificate)) as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file))) as proxy,
    ):
        first, second = await proxy.ask(), await proxy.ask(b"POST", b"x" * 300_000)
    assert (bytes(first.received), bytes(second.received)) == (b"fine", b"fine")
    assert (second.attempts[0][2], origin.accepted) == (True, 1)


async def test_a_large_body_comes_through_tls_whole_although_the_reader_stalls(authority, certificate):
    body = bytes(range(256)) * 16_384
    async with (
        Origin(answering(ok(body))).listening(tls=serving(certificate)) as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file))) as proxy,
    ):
        call, sink = proxy.send()
        sink.on_head = call.pause_reading
        await sink.answered.wait()
        await asyncio.sleep(0.1)
        assert len(sink.received) < 1024 * 1024
        call.resume_reading()
        await sink.wait()
    assert bytes(sink.received) == body


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        (UpstreamTls(), "the certificate is signed by an authority that is not trusted"),
        (UpstreamTls(server_name="payments.internal"), "the certificate is for another name"),
    ],
)
async def test_a_certificate_problem_is_a_502_in_words_without_an_address(authority, certificate, tls, said):
    if tls.server_name:
        tls = msgspec.structs.replace(tls, ca_file=str(authority.file))
    async with (
        Origin(answering(ok())).listening(tls=serving(certificate)) as origin,
        trusting(origin, tls) as proxy,
    ):
        sink = await proxy.ask()
    assert (sink.kind, sink.failure.status, sink.status) == ("upstream_unavailable", 502, 0)
    assert sink.failure.detail == f"no connection: {said}"
    assert proxy.counted("failed") == 1


async def test_an_expired_certificate_is_refused(authority):
    async with (
        Origin(answering(ok())).listening(tls=serving(authority.files("old", days=-1))) as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file))) as proxy,
    ):
        assert (await proxy.ask()).failure.detail == "no connection: the certificate has expired"


async def test_the_address_of_a_target_must_stand_in_its_certificate(authority, certificate):
    async with (
        Origin(answering(ok())).listening(host="127.0.0.2", tls=serving(certificate)) as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file))) as proxy,
    ):
        assert (await proxy.ask()).failure.detail == "no connection: the certificate is for another address"


async def test_an_authority_other_than_the_named_one_is_not_believed(authority, stranger):
    async with (
        Origin(answering(ok())).listening(tls=serving(stranger.files("orders"))) as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file))) as proxy,
    ):
        assert (await proxy.ask()).kind == "upstream_unavailable"


async def test_what_is_not_verified_is_reached_and_said_once(stranger, logged):
    async with (
        Origin(answering(ok(), close=True)).listening(tls=serving(stranger.files("orders"))) as origin,
        trusting(origin, UpstreamTls(verify=False)) as proxy,
    ):
        for _ in range(3):
            assert (await proxy.ask()).ended
        proxy.forwarder.apply((msgspec.structs.replace(proxy.upstream, queue=3),), (), 0)
        assert (await proxy.ask()).ended
    assert [event for event, _ in logged] == ["upstream_tls.unverified"]


async def test_name_and_protocol_are_told_to_the_server(authority):
    asked: list[str | None] = []
    spoken: list[str | None] = []
    context = serving(authority.files("named", dns=("orders.internal",)))
    context.sni_callback = lambda _, name, __: asked.append(name)
    context.set_alpn_protocols(["h2", "http/1.1"])

    async def script(peer: Peer) -> None:
        spoken.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answering(ok())(peer)

    async with (
        Origin(script).listening(tls=context) as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file), server_name="orders.internal")) as proxy,
    ):
        assert (await proxy.ask()).ended
    assert (asked, spoken) == (["orders.internal"], ["http/1.1"])


def test_versions_before_1_2_are_not_spoken():
    assert make_context(UpstreamTls()).minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_server_that_closes_within_the_handshake_is_a_502(authority):
    async def closing(peer: Peer) -> None:
        await peer.reader.read(1)

    async with (
        Origin(closing).listening() as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file)), tls=True) as proxy,
    ):
        assert (await proxy.ask()).failure.detail.startswith("no connection: ")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_upstream_that_wants_a_certificate_is_shown_ours_or_refuses(authority, certificate, version):
    context = serving(certificate, verify_mode=ssl.CERT_REQUIRED, maximum_version=version)
    context.load_verify_locations(authority.file)
    ours = authority.files("gateway")
    with_it = UpstreamTls(ca_file=str(authority.file), certificate_file=ours[0], key_file=ours[1])
    async with Origin(answering(ok())).listening(tls=context) as origin:
        async with trusting(origin, with_it) as proxy:
            assert (await proxy.ask()).ended
        async with trusting(origin, UpstreamTls(ca_file=str(authority.file))) as proxy:
            sink = await proxy.ask()
    assert (sink.kind, sink.failure.status) == ("upstream_unavailable", 502)


async def test_a_plain_server_behind_an_https_target_is_a_502(authority):
    async with (
        Origin(answering(ok())).listening() as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file)), tls=True) as proxy,
    ):
        origin.script = _garbage
        assert (await proxy.ask()).failure.detail == "no connection: the TLS handshake failed"


async def _garbage(peer: Peer) -> None:
    await peer.reader.read(1)
    await peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")


async def test_a_handshake_that_stands_still_ends_with_the_connect_timeout(authority):
    async def mute(peer: Peer) -> None:
        await peer.reader.read()

    hasty = Timeouts(connect_s=0.2, header_s=5, idle_s=5)
    async with (
        Origin(mute).listening() as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file)), timeouts=hasty, tls=True) as proxy,
    ):
        assert (await proxy.ask()).failure.detail == "no connection within 0.2 s"


async def test_a_unix_socket_may_speak_tls_too(authority, certificate, tmp_path):
    async with (
        Origin(answering(ok())).listening(str(tmp_path / "a.sock"), tls=serving(certificate)) as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file))) as proxy,
    ):
        assert (await proxy.ask()).ended


@pytest.mark.parametrize("regular", [True, False], ids=["close_notify", "cut"])
async def test_a_body_until_the_close_is_whole_only_if_tls_was_closed_in_order(authority, certificate, regular):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        await asyncio.sleep(0.05)
        if not regular:  # FIN by itself, as anybody on the way could send it
            with socket.socket(fileno=os.dup(peer.writer.get_extra_info("socket").fileno())) as raw:
                raw.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.1)

    async with (
        Origin(script).listening(tls=serving(certificate)) as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file))) as proxy,
    ):
        sink = await proxy.ask()
    assert bytes(sink.received) == b"part"
    assert (sink.ended, sink.kind) == ((True, "") if regular else (False, "upstream_truncated"))


async def test_a_changed_certificate_is_used_for_new_connections_and_a_bad_one_keeps_the_old(
    authority, certificate, tmp_path, monkeypatch, logged
):
    monkeypatch.setattr("gateway.proxy.tls.LOOK_EVERY_S", 0.0)
    shown: list[str] = []
    context = serving(certificate, verify_mode=ssl.CERT_REQUIRED)
    context.load_verify_locations(authority.file)
    ours = tmp_path / "gateway.pem", tmp_path / "gateway.key"

    def install(name: str) -> None:
        for made, place in zip(authority.files(name, ("CN", name)), ours, strict=True):
            shutil.copy(made, place)

    async def script(peer: Peer) -> None:
        shown.append(dict(field[0] for field in peer.writer.get_extra_info("peercert")["subject"])["commonName"])
        await answering(ok(), close=True)(peer)

    install("first")
    tls = UpstreamTls(ca_file=str(authority.file), certificate_file=str(ours[0]), key_file=str(ours[1]))
    async with Origin(script).listening(tls=context) as origin, trusting(origin, tls) as proxy:
        await proxy.ask()
        install("second")
        await proxy.ask()
        ours[1].write_text("no key")
        await proxy.ask()
        await proxy.ask()
        install("third")
        await proxy.ask()
    assert shown == ["first", "second", "second", "second", "third"]
    assert [event for event, _ in logged] == ["upstream_tls.renewed", "upstream_tls.unusable", "upstream_tls.renewed"]
    assert (logged[1][1]["kept_old"], "gateway.key" in logged[1][1]["problem"]) == (True, True)


async def test_files_that_are_missing_are_a_502_until_they_are_there(authority, certificate, tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.proxy.tls.LOOK_EVERY_S", 0.0)
    later = tmp_path / "ca.pem"
    async with (
        Origin(answering(ok())).listening(tls=serving(certificate)) as origin,
        trusting(origin, UpstreamTls(ca_file=str(later))) as proxy,
    ):
        sink = await proxy.ask()
        shutil.copy(authority.file, later)
        assert (await proxy.ask()).ended
    assert sink.failure.status == 502
    assert sink.failure.detail == "no connection: the gateway's TLS settings for this upstream cannot be used"


async def test_files_are_looked_at_once_for_many_connections(authority, monkeypatch):
    read: list[int] = []
    monkeypatch.setattr("gateway.proxy.tls.make_context", lambda tls: read.append(1) or make_context(tls))
    context = UpstreamContext("orders", UpstreamTls(ca_file=str(authority.file)))
    found = await asyncio.gather(*(context.current() for _ in range(20)))
    assert (len(set(map(id, found))), len(read)) == (1, 1)


async def test_other_tls_settings_mean_new_connections_and_the_old_ones_end(authority, stranger, certificate):
    async with (
        Origin(answering(ok())).listening(tls=serving(certificate)) as origin,
        trusting(origin, UpstreamTls(ca_file=str(authority.file))) as proxy,
    ):
        await proxy.ask()
        strict = msgspec.structs.replace(proxy.upstream, tls=UpstreamTls(ca_file=str(stranger.file)))
        proxy.upstream = strict
        proxy.forwarder.apply((strict,), (), 0)
        assert (await proxy.ask()).kind == "upstream_unavailable"


def test_an_encrypted_key_is_an_error_and_not_a_question_at_the_terminal(authority, tmp_path):
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    made, key = authority.sign(("CN", "gateway"))
    (tmp_path / "c.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (tmp_path / "k.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    )
    tls = UpstreamTls(certificate_file=str(tmp_path / "c.pem"), key_file=str(tmp_path / "k.pem"))
    with pytest.raises(TlsUnusableError, match=r"k\.pem.*the key is encrypted"):
        make_context(tls)


@pytest.mark.parametrize("text", ["", "nothing of the kind"])
def test_a_file_of_authorities_that_holds_none_is_named(tmp_path, text):
    (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(TlsUnusableError, match=r"ca_file .*ca\.pem: not usable"):
        make_context(UpstreamTls(ca_file=str(tmp_path / "ca.pem")))


async def test_the_name_of_a_target_is_told_without_the_dot_of_the_root_or_an_interface():
    target = Origin(answering()).target
    for host, name in [("orders.internal.", "orders.internal"), ("fe80::1%eth0", "fe80::1"), ("unix:/a", "localhost")]:
        assert server_name(UpstreamTls(), msgspec.structs.replace(target, host=host)) == name
    assert server_name(UpstreamTls(server_name="x"), target) == "x"


# --- health probes speak the same TLS ---


async def _first_report(origin: Origin, tls: UpstreamTls) -> tuple[bool, str]:
    heard: asyncio.Queue[tuple[bool, str]] = asyncio.Queue()

    async def changed(_upstream: str, _target: str, healthy: bool, reason: str) -> None:  # noqa: FBT001 - as called
        heard.put_nowait((healthy, reason))

    prober = Prober(changed)
    check = HealthCheck("/", interval_s=0.6, unhealthy=1, healthy=1)  # which bounds an answer's time too
    prober.apply((Upstream("orders", (origin.target,), health=check, tls=tls),))
    try:
        return await asyncio.wait_for(heard.get(), 10)
    finally:
        await prober.close()


SICK = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"


async def test_a_probe_verifies_the_certificate_as_requests_do(authority, stranger, certificate):
    async with Origin(answering(SICK)).listening(tls=serving(certificate)) as origin:
        known = await _first_report(origin, UpstreamTls(ca_file=str(authority.file)))
        unknown = await _first_report(origin, UpstreamTls(ca_file=str(stranger.file)))
        misnamed = await _first_report(origin, UpstreamTls(ca_file=str(authority.file), server_name="x.internal"))
        unread = await _first_report(origin, UpstreamTls(ca_file="/nowhere/ca.pem"))
    assert known == (False, "answered 503")
    assert unknown[1] == "not reachable: the certificate is signed by an authority that is not trusted"
    assert misnamed[1] == "not reachable: the certificate is for another name"
    assert unread[1] == "not reachable: the gateway's TLS settings for this upstream cannot be used"


async def test_a_probe_shows_our_certificate(authority, certificate):
    context = serving(certificate, verify_mode=ssl.CERT_REQUIRED)
    context.load_verify_locations(authority.file)
    ours = authority.files("prober")
    async with Origin(answering(SICK)).listening(tls=context) as origin:
        tls = UpstreamTls(ca_file=str(authority.file), certificate_file=ours[0], key_file=ours[1])
        assert await _first_report(origin, tls) == (False, "answered 503")

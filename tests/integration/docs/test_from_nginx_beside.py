"""Where docs/how-to/from-nginx.md says that nothing differs, nginx itself is asked, if it is on this machine.

The page's own pieces of nginx.conf run beside our rows, before the same services, and get the same requests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests import servers
from tests.integration.docs.migration_page import Guide, Line
from tests.integration.docs.migration_world import Answer, ask
from tests.integration.edge.edge_world import Wire
from tests.unit.docs.pages import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.docs.migration_world import Services

GUIDE = Guide("from-nginx.md")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
BASE = next(block.text for block in blocks(GUIDE.text) if block.language == "nginx")
LOCATION = "location /orders/ { proxy_pass http://orders; }"

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not on this machine; the rows are tried without it")


@contextmanager
def nginx(folder: Path, services: Services, location: str = LOCATION, http: str = "", **replaced: str) -> Iterator[int]:
    """nginx with the page's first block, another location in it, and ``http`` before it; gives its port."""
    port = servers.free_port()
    text = BASE.replace(LOCATION, location).replace("8000", f"127.0.0.1:{port}")
    for written, here in replaced.items():
        text = text.replace(written, here)
    assert NGINX is not None
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(
        f"{user}daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\n"
        "events { }\n"
        f"http {{\naccess_log off;\n{temporary}{http}\n{services.placed(text)}\n}}\n"
    )
    log = folder / "nginx.out"
    with log.open("wb") as out:
        process = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(file)], stdout=out, stderr=out)
    try:
        servers.wait_until(lambda: servers.answers(port), process, log, "nginx")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def test_exact_and_prefix_locations_take_the_same_requests(trial, at_work, tmp_path: Path) -> None:
    locations = "location = /orders { proxy_pass http://orders; } location /orders/ { proxy_pass http://orders; }"
    paths = ("/orders/", "/orders/1", "/orders/1/2?x=1", "/ordersX", "/other")
    with nginx(tmp_path, trial.services, locations) as port, at_work("location /orders/") as gateway:
        for path in ("/orders", *paths):
            assert gateway.ask(path).status == ask(port, path).status
    with nginx(tmp_path, trial.services) as port, at_work("location /orders/") as gateway:
        assert ask(port, "/orders").status == 301  # the difference the page names
        assert [gateway.ask(path).status for path in paths] == [ask(port, path).status for path in paths]


@pytest.mark.parametrize("ours", ["as it came", "stripped", "replaced"])
def test_proxy_pass_hands_on_the_same_path(trial, at_work, tmp_path: Path, ours: str) -> None:
    started = {
        "as it came": lambda: at_work("proxy_pass http://orders;"),
        "stripped": lambda: at_work("proxy_pass http://orders/;"),
        "replaced": lambda: at_work("proxy_pass http://orders/v2/;"),
    }[ours]()
    theirs = {
        "as it came": "proxy_pass http://orders;",
        "stripped": "proxy_pass http://orders/;",
        "replaced": "proxy_pass http://orders/v2/;",
    }[ours]
    with started as gateway, nginx(tmp_path, trial.services, f"location /orders/ {{ {theirs} }}") as port:
        for path in ("/orders/", "/orders/1", "/orders/1/2?x=1&y=%2F", "/orders/a-b_c~d"):
            assert gateway.ask(path).path == ask(port, path).path


def test_weights_make_the_same_rotation(trial, at_work, tmp_path: Path) -> None:
    row = "server 10.0.0.5:9000 weight=3;"
    assert row in GUIDE.rows
    theirs = {"server 10.0.0.5:9000;": row}
    with nginx(tmp_path, trial.services, **theirs) as port, at_work("server 10.0.0.5:9000 weight=3;") as gateway:
        assert [asked(trial.services, port) for _ in range(12)] == [gateway.target() for _ in range(12)]


def asked(services: Services, port: int) -> str:
    """The address of the service that a request comes to."""
    before = services.shares()
    ask(port, "/orders/1")
    return next(name for name, count in services.shares().items() if count > before[name])


def test_as_many_come_at_once(trial, at_work, tmp_path: Path) -> None:
    zone = "limit_req_zone $binary_remote_addr zone=one:10m rate=1r/m;"  # slow, so that nothing comes back meanwhile
    row = "limit_req zone=one burst=20 nodelay;"
    assert row in GUIDE.rows
    slow = Line("[[routes]]", 'limit = "1/min burst 21 per client"')
    location = f"location /orders/ {{ {row} proxy_pass http://orders; }}"
    with (
        nginx(tmp_path, trial.services, location, zone) as port,
        at_work("limit_req zone=one burst=20 nodelay;", slow) as gateway,
    ):
        assert [ask(port).status for _ in range(23)] == [200] * 21 + [503] * 2
        assert gateway.statuses(23) == [200] * 21 + [429] * 2


def test_without_a_burst_one_comes_at_once(trial, at_work, tmp_path: Path) -> None:
    zone = "limit_req_zone $binary_remote_addr zone=one:10m rate=1r/m;"
    slow = Line("[[routes]]", 'limit = "1/min burst 1 per client"')
    location = "location /orders/ { limit_req zone=one; proxy_pass http://orders; }"
    with nginx(tmp_path, trial.services, location, zone) as port, at_work("limit_req zone=one;", slow) as gateway:
        assert [ask(port).status for _ in range(3)] == [200, 503, 503]
        assert gateway.statuses(3) == [200, 429, 429]


def test_a_split_gives_the_smaller_part_about_its_share(trial, tmp_path: Path) -> None:
    row = "split_clients $remote_addr $to { 5% orders-v2; * orders; }"
    assert row in GUIDE.rows
    with nginx(tmp_path, trial.services, "location /orders/ { proxy_pass http://$to; }", row) as port:
        for number in range(1, 201):
            assert ask(port, client=f"127.0.1.{number}").status == 200
        assert 1 <= trial.services.shares()["10.0.0.7"] <= 20  # as our own row in test_from_nginx.py


def test_a_return_says_the_same(trial, at_work, tmp_path: Path) -> None:
    row = "return 301 https://new.example$request_uri;"
    with (
        nginx(tmp_path, trial.services, f"location /orders/ {{ {row} }}") as port,
        at_work("return 301 https://new.example$request_uri;") as gateway,
    ):
        theirs, ours = ask(port, "/orders/1?x=1"), gateway.ask("/orders/1?x=1")
        assert said(theirs) == said(ours) == (301, "https://new.example/orders/1?x=1")


def said(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.headers["location"]


def test_the_same_body_is_too_large(trial, at_work, tmp_path: Path) -> None:
    location = "location /orders/ { client_max_body_size 1m; proxy_pass http://orders; }"
    with (
        nginx(tmp_path, trial.services, location) as port,
        at_work("client_max_body_size 1m;") as gateway,
    ):
        for server in (port, gateway.port):
            assert ask(server, "/orders/1", method="POST", body=b"x" * 2**20).status == 200
            wire = Wire(server)
            wire.send(b"POST /orders/1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2**20 + 1))
            assert wire.head()[0] == 413
            wire.close()


def test_what_is_tried_again_is_the_same(trial, at_work, tmp_path: Path) -> None:
    trial.services["10.0.0.5"].answer = lambda *_: (503, b"")
    row = "proxy_next_upstream error timeout http_503;"
    assert row in GUIDE.rows
    # Without max_fails=0 nginx would take the target out by itself, which the page says of it.
    steady = {"9000;": "9000 max_fails=0;"}
    location = f"location /orders/ {{ {row} proxy_pass http://orders; }}"
    with (
        nginx(tmp_path, trial.services, location, **steady) as port,
        at_work("proxy_next_upstream error timeout http_503;") as gateway,
    ):
        for server in (port, gateway.port):
            assert [ask(server).status for _ in range(4)] == [200] * 4
            assert sorted(ask(server, method="POST").status for _ in range(4)) == [200, 200, 503, 503]


def test_the_defaults_that_the_page_tells_of_nginx(trial, tmp_path: Path) -> None:
    trial.services["10.0.0.5"].fields = trial.services["10.0.0.6"].fields = {"X-Powered-By": "a service"}
    with nginx(tmp_path, trial.services) as port:
        answer = ask(port, "/orders/%6fne", fields={"X-Forwarded-For": "192.0.2.1"})
        assert answer.saw["headers"]["host"] == "orders"
        assert answer.headers["server"].startswith("nginx")
        assert ask(port, "/orders//1").status == ask(port, "/orders/../orders/1").status == 200


def test_both_pass_who_is_allowed_and_refuse_the_others_with_403(trial, at_work, tmp_path: Path) -> None:
    row = "allow 10.0.0.0/8; deny all;"
    trial.services.lead("10.0.0.0/8", "127.0.0.8")
    location = f"location /orders/ {{ {row} proxy_pass http://orders; }}"
    with nginx(tmp_path, trial.services, location) as port, at_work("allow 10.0.0.0/8; deny all;") as gateway:
        for server in (port, gateway.port):
            assert [ask(server, client=f"127.0.0.{last}").status for last in (8, 9)] == [200, 403]

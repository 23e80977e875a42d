"""The dashboard over the fakes on a real port, and a Chromium to look at it.

Without a Chromium these tests are left out, unless CI=true, where that is a failure.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING

import pytest
import uvicorn

from gateway.admin.application import build
from gateway.admin.auth import Auth
from gateway.admin.dashboard.render import Pages
from gateway.admin.dashboard.routes import routes
from gateway.identity import tokens
from gateway.identity.setup_link import SetupLink
from tests.admin_fakes import QUICK, FakeAdmin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from gateway.domain.traffic import RequestRecord

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM or os.environ.get("CI") == "true":
        return
    left_out = pytest.mark.skip(reason="there is no Chromium on this machine (apt-get install chromium)")
    for item in items:
        if item.get_closest_marker("chromium"):
            item.add_marker(left_out)


# Not for the session: while Playwright runs, its event loop is the thread's, and no other test could start one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    if not CHROMIUM:
        pytest.fail("CI needs a Chromium: apt-get install chromium, or set CHROMIUM to its path")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


class Site:
    """A running dashboard and the fakes behind it."""

    def __init__(self, admin: FakeAdmin, url: str, setup: SetupLink, loop: asyncio.AbstractEventLoop) -> None:
        self.admin = admin
        self.url = url
        self.setup = setup
        self._loop = loop

    def publish(self, record: RequestRecord) -> None:
        """To whoever follows live, on the server's own loop."""
        self._loop.call_soon_threadsafe(self.admin.live.publish, record)

    def sign_in(self, page: Page, name: str = "ana") -> None:
        """With a session made behind the form's back, which has tests of its own."""
        user = next(user for user in self.admin.users.rows.values() if user.email == f"{name}@example.org")
        token, session = tokens.open_session(user.id, now=self.admin.clock())
        self.admin.users.sessions[session.digest] = session
        page.context.add_cookies([{"name": "sentinel_session", "value": token, "url": self.url, "sameSite": "Strict"}])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    admin = FakeAdmin()
    setup = SetupLink(tmp_path)
    auth = Auth(admin.ports, passwords=QUICK, setup_link=setup)
    pages = Pages(admin.ports, auth)
    app = build(admin.ports, auth, dashboard_routes=routes(admin.ports, auth, pages), error_page=pages.error_page)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    )
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Site(admin, f"http://127.0.0.1:{port}", setup, loops[0])
    server.should_exit = server.force_exit = True  # the browser keeps its connections open
    thread.join(timeout=10)

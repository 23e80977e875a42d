"""Commands reach control over the Unix socket in the run folder: whoever may enter that folder may command.

The command line never writes beside control, so that audit, approval and publication happen in one place.
"""

from __future__ import annotations

import contextlib
import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import httpx2

from gateway.cli import terminal
from gateway.config import checking, reading
from gateway.run_folder import RunFolder
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TIMEOUT_S = 30.0


class ControlClient:
    """Requests to the local control process; problem documents become plain messages and an exit code."""

    def __init__(self, folder: RunFolder) -> None:
        self._socket = folder.control_socket
        self._client = httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(self._socket)),
            base_url="http://control",
            timeout=TIMEOUT_S,
            headers={"X-Sentinel-Operator": _operator()},
        )

    def call(self, method: str, path: str, *, body: Any = None, query: Mapping[str, str | int] | None = None) -> Any:
        """The decoded answer; ends the command with a message when there is none or it is a problem."""
        wanted = {name: value for name, value in (query or {}).items() if value not in {"", 0, None}}
        try:
            answer = self._client.request(method, path, json=body, params=wanted)
        except httpx2.TransportError as error:
            self._not_running(error)
        if answer.is_error:
            problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
            where = f" ({problem['field']})" if problem.get("field") else ""
            terminal.fail(f"{problem.get('detail') or answer.reason_phrase}{where}", problem.get("remedy", ""))
        return answer.json() if answer.content else None

    def text(self, path: str) -> str:
        """The answer as text."""
        try:
            answer = self._client.get(path)
        except httpx2.TransportError as error:
            self._not_running(error)
        if answer.is_error:
            terminal.fail(f"{path}: {answer.status_code} {answer.reason_phrase}")
        return answer.text

    @contextlib.contextmanager
    def lines(self, path: str, query: Mapping[str, str | int]) -> Iterator[Iterator[str]]:
        """Lines of an endless answer."""
        wanted = {name: value for name, value in query.items() if value not in {"", 0}}
        try:
            with self._client.stream("GET", path, params=wanted, timeout=None) as answer:
                yield answer.iter_lines()
        except httpx2.TransportError as error:
            self._not_running(error)

    def _not_running(self, error: httpx2.TransportError) -> NoReturn:
        terminal.fail(
            f"no control process answers on {self._socket} ({error})",
            "start it with `sentinel serve`, or name the right file with --config",
            code=terminal.NOT_RUNNING,
        )


def _operator() -> str:
    """Who types, for the audit trail."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return str(os.getuid())


def connect(config_path: str) -> ControlClient:
    """The client for the gateway that this configuration describes."""
    settings = Settings.from_environ(os.environ)
    text, _ = checking.read_file(Path(config_path))  # no file: `serve --upstream` runs with the defaults
    return ControlClient(RunFolder(Path(reading.read(text, config_path, settings.overrides).document.server.run_dir)))

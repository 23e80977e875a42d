"""Notices that sentinel.toml changed on disk, or SIGHUP, and applies it like any other text."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway import logs
from gateway.config import checking
from gateway.domain.identity import SYSTEM
from gateway.errors import ConfigError, SentinelError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.revisions import Revisions

_log = logs.get("config")


class ConfigFileWatcher:
    """Applies sentinel.toml again when it changes on disk. A file with errors is logged and the old stays."""

    def __init__(self, path: Path, revisions: Revisions, *, interval_s: float = 1.0) -> None:
        """What the file holds now counts as seen: control was started with it."""
        self._path = path
        self._revisions = revisions
        self._interval_s = interval_s
        self._poked = asyncio.Event()
        self._seen = self._signature()

    def poke(self) -> None:
        """Read the file again even if it looks unchanged: the answer to SIGHUP. Safe in a signal handler."""
        self._poked.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), self._interval_s)
            await self.look()

    async def look(self) -> bool:
        """Look once; True when the file was applied."""
        signature = self._signature()
        poked = self._poked.is_set()
        self._poked.clear()
        if signature is None or (signature == self._seen and not poked):
            return False
        self._seen = signature
        text, finding = await asyncio.to_thread(checking.read_file, self._path)
        if finding is not None:
            _log.error("config.refused", problems=[str(finding)])
            return False
        if text == self._revisions.text() and not poked:
            return False
        try:
            await self._revisions.apply(text, SYSTEM, note=f"{self._path.name} changed")
        except ConfigError as error:
            _log.error("config.refused", problems=list(error.problems))
            return False
        except SentinelError as error:
            _log.error("config.not_applied", reason=str(error))
            return False
        return True

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns)

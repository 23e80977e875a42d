"""The shelf of runbooks: files of a folder beside those of the API, and those that fit an incident."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway import logs
from gateway.diagnose.runbooks import MOST_CHARACTERS, RunbookError, fitting, parse, sought
from gateway.domain.runbook import Runbook
from gateway.errors import ConflictError, SentinelError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.domain.diagnosis import Diagnosis
    from gateway.domain.incident import Incident
    from gateway.domain.paging import Page
    from gateway.domain.runbook import Match
    from gateway.store.runbooks import Runbooks

EVERY_S = 30.0
MOST_FILES = 500
SEARCH_S = 1.0  # a report does not wait longer for them

_log = logs.get("control")


class Shelf:
    """Runbooks as the API and the reports need them.

    Args:
        store: where they are kept and searched.
        folder: files ``NAME.md``; empty for none. A folder that is not there holds none.
        leading: whether this control leads: only then are files brought into the store.
        clock: seconds since the epoch.
    """

    def __init__(
        self, store: Runbooks, folder: str, *, leading: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._folder = Path(folder) if folder else None
        self._leading = leading
        self._clock = clock
        self._seen: dict[str, tuple[int, int]] = {}

    async def run(self) -> None:
        """Look at the folder every half minute, until cancelled."""
        while True:
            try:
                if self._leading():
                    await self.sync()
                    await asyncio.sleep(EVERY_S)
                else:
                    await asyncio.sleep(1.0)
            except SentinelError as error:
                _log.warning("runbooks.not_read", reason=str(error))
                await asyncio.sleep(EVERY_S)

    async def sync(self) -> None:
        """Bring the store up to the folder; nothing is written while no file changed. Raises StoreUnavailableError."""
        found = await asyncio.to_thread(self._files)
        stamps = {name: stamp for name, (stamp, _) in found.items()}
        if stamps == self._seen:
            return
        known = {one.id: one for one in await self._store.of_files()}
        for name, (_, text) in found.items():
            runbook = self._read(name, text)
            before = known.pop(runbook.id, None)
            if before is None or msgspec.structs.replace(before, updated_at=runbook.updated_at) != runbook:
                await self._store.save(runbook)
        for gone in known:
            await self._store.delete(gone)
        self._seen = stamps

    def _files(self) -> dict[str, tuple[tuple[int, int], str]]:
        found: dict[str, tuple[tuple[int, int], str]] = {}
        if self._folder is None or not self._folder.is_dir():
            return found
        for path in sorted(self._folder.glob("*.md"))[:MOST_FILES]:
            try:
                about = path.stat()
                with path.open(encoding="utf-8", errors="replace") as lines:
                    text = lines.read(MOST_CHARACTERS + 1)
            except OSError as error:
                _log.warning("runbooks.not_read", reason=f"{path.name}: {error.strerror}")
                continue
            found[path.stem] = ((about.st_mtime_ns, about.st_size), text)
        return found

    def _read(self, name: str, text: str) -> Runbook:
        identifier = name.lower().replace("_", "-").replace(" ", "-")
        try:
            return parse(identifier, text, source="file", now=self._clock())
        except RunbookError as error:
            _log.warning("runbook.unreadable", runbook=identifier[:63], line=error.line, reason=str(error))
            return Runbook(
                id=identifier[:63],
                title=name[:63],
                source="file",
                updated_at=self._clock(),
                error=str(error),
                line=error.line,
            )

    async def fitting(self, incident: Incident, diagnosis: Diagnosis) -> Sequence[Match]:
        """Those that fit an incident, the best first; none while the store is away or slow."""
        endings = [
            word for one in diagnosis.evidence if one.kind == "sample" for key in one.values for word in key.split()
        ]
        words = sought(incident, diagnosis.hypotheses, endings)
        upstreams = {one.upstream for one in diagnosis.hypotheses if not one.ruled_out} | {incident.place.upstream}
        try:
            async with asyncio.timeout(SEARCH_S):
                return fitting(await self._store.search(words), incident, upstreams - {""})
        except (StoreUnavailableError, TimeoutError):
            return ()

    # What the API does.

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Runbook]:
        """The one changed last comes first."""
        return await self._store.page(limit=limit, cursor=cursor)

    async def get(self, runbook_id: str) -> Runbook:
        """Raises NotFoundError."""
        return await self._store.get(runbook_id)

    async def search(self, words: str) -> Sequence[Match]:
        """Runbooks that hold any of the words, the best first."""
        return await self._store.search(words.split())

    async def add(self, runbook_id: str, text: str) -> Runbook:
        """Keep a runbook. Raises RunbookError, or ConflictError where a file has that name."""
        runbook = parse(runbook_id, text, source="api", now=self._clock())
        await self._refuse_file(runbook_id)
        await self._store.save(runbook)
        return runbook

    async def delete(self, runbook_id: str) -> None:
        """Raises NotFoundError, or ConflictError for one out of a file."""
        await self._refuse_file(runbook_id)
        await self._store.delete(runbook_id)

    async def _refuse_file(self, runbook_id: str) -> None:
        if any(one.id == runbook_id for one in await self._store.of_files()):
            raise ConflictError(
                f"runbook {runbook_id} comes out of a file",
                remedy="change or delete the file in the folder of runbooks",
            )

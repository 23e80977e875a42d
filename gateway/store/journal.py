"""What could not be saved while the database was away: one file in the run folder, carried over later.

Entries have a key; a later entry of the same key replaces the earlier one (the next version of an incident). Carrying
over is safe to repeat, because what is carried over is: saves go by version, audit lines by their digest. So the file
is simply emptied when all of it has arrived. It is written without waiting for the disk: it outlives this process,
which is what it is for, though not a power cut.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import msgspec

from gateway import logs
from gateway.errors import SentinelError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Carry = Callable[[bytes], Awaitable[None]]

MAX_BYTES = 64 << 20  # hundreds of incidents, or a hundred thousand audit lines
RETRY_S = 5.0

_log = logs.get("store")


class _Line(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    key: str
    body: msgspec.Raw


_decode = msgspec.json.Decoder(_Line).decode


class Journal:
    """Entries by key, in memory and in a file.

    Args:
        path: the file; made 0600 on first use.
        max_bytes: bound of the file and, with it, of memory; beyond it the oldest entries are dropped and counted.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._entries: dict[tuple[str, str], bytes] = {}
        self._carry: dict[str, Carry] = {}
        self._entries_bytes = 0
        self._file_bytes = 0
        self._turn = asyncio.Lock()
        self.dropped = 0
        self._load()

    @property
    def waiting(self) -> int:
        """Entries not yet carried over."""
        return len(self._entries)

    def register(self, kind: str, carry: Carry) -> None:
        """Say how entries of a kind are carried over; ``carry`` gets the body and may be called twice for the same."""
        self._carry[kind] = carry

    def add(self, kind: str, key: str, body: bytes) -> None:
        """Keep an entry. Never raises: with the disk full as well it is kept in memory alone, and that is logged."""
        self._put(kind, key, body)
        self._make_room()
        try:
            if self._file_bytes > self._max_bytes:
                self._rewrite()
            else:
                self._append(_encode(kind, key, body))
        except OSError as error:
            _log.error("journal.not_written", error=str(error), kind=kind)

    def of_kind(self, kind: str) -> list[bytes]:
        """The bodies of a kind, oldest first."""
        return [body for (one, _), body in self._entries.items() if one == kind]

    async def carry_over(self) -> bool:
        """Save what waits, oldest first; whether nothing is left."""
        if not self._entries:
            return True
        async with self._turn:
            carried = 0
            for (kind, key), body in list(self._entries.items()):
                if kind not in self._carry:
                    continue
                try:
                    await self._carry[kind](body)
                except StoreUnavailableError:
                    return False
                except (SentinelError, msgspec.MsgspecError) as error:
                    # Refused for good, or of another version: kept aside for people, and the others go on.
                    _log.error("journal.refused", kind=kind, key=key, error=str(error))
                    self._set_aside(_encode(kind, key, body))
                if self._entries.get((kind, key)) is body:  # not replaced while it was being saved
                    del self._entries[kind, key]
                    self._entries_bytes -= len(body)
                    carried += 1
            self._empty_if_done()
        if carried:
            _log.info("journal.carried_over", entries=carried)
        return not self._entries

    async def run(self) -> None:
        """Try again every few seconds until cancelled."""
        while True:
            await asyncio.sleep(RETRY_S)
            await self.carry_over()

    def _put(self, kind: str, key: str, body: bytes) -> None:
        replaced = self._entries.pop((kind, key), b"")
        self._entries[kind, key] = body
        self._entries_bytes += len(body) - len(replaced)

    def _make_room(self) -> None:
        while self._entries_bytes > self._max_bytes and len(self._entries) > 1:
            oldest = next(iter(self._entries))
            self._entries_bytes -= len(self._entries.pop(oldest))
            self.dropped += 1
            _log.error("journal.dropped", kind=oldest[0], dropped=self.dropped)

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._file_bytes += os.write(fd, line)
        finally:
            os.close(fd)

    def _rewrite(self) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as out:
            for (kind, key), body in self._entries.items():
                out.write(_encode(kind, key, body))
            self._file_bytes = out.tell()
        fresh.rename(self._path)

    def _empty_if_done(self) -> None:
        try:
            if not self._entries:
                self._path.unlink(missing_ok=True)
                self._file_bytes = 0
        except OSError as error:
            _log.error("journal.not_emptied", error=str(error))

    def _set_aside(self, line: bytes) -> None:
        aside = self._path.with_name(self._path.name + ".refused")
        try:
            if aside.exists() and aside.stat().st_size > self._max_bytes:
                aside.unlink()
            fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "ab") as out:
                out.write(line)
        except OSError as error:
            _log.error("journal.not_written", error=str(error), kind="refused")

    def _load(self) -> None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        self._file_bytes = len(content)
        for raw in content.splitlines(keepends=True):
            try:
                line = _decode(raw)
            except (msgspec.MsgspecError, UnicodeError):
                # The end of a line that was being written when the machine stopped.
                _log.warning("journal.torn_line", bytes=len(raw))
                self._set_aside(raw if raw.endswith(b"\n") else raw + b"\n")
                continue
            self._put(line.kind, line.key, bytes(line.body))
        if content and not content.endswith(b"\n"):
            self._rewrite()  # or the next line would be glued to the torn one
        _log.info("journal.found", entries=len(self._entries))


def _encode(kind: str, key: str, body: bytes) -> bytes:
    return msgspec.json.encode(_Line(kind, key, msgspec.Raw(body))) + b"\n"

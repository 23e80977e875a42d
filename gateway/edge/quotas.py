"""Quotas counted on this node, without Redis: one file that all its workers share and that outlives them.

A restart gives nobody a new quota, and n workers count as one. The file is a table of fixed size: a caller's digest
names a row of WAYS places, each 16 bytes of digest and 8 of state. Whoever changes a place holds the file's lock for a
few microseconds. Plain reads and writes, no memory map: on a full disk those fail, and a map would kill the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING

from gateway import logs
from gateway.edge.periods import DAY, MONTH, period
from gateway.edge.token_bucket import PERIOD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.edge.limits import LimitKey
    from gateway.metrics import WorkerCounters

ROWS, WAYS = 8192, 8  # 65,536 callers with a quota in 1.5 MiB
_PLACE = Struct("<16sQ")
_ROW_BYTES = WAYS * _PLACE.size
LOCK_TRIES = 20
LOCK_PAUSE_S = 0.00005
LOCK_REST_S = 1.0  # after a lock nobody gave back (its holder is frozen): so long it is done without
FAIL_REST_S = 60.0  # after a disk that failed: so long this process counts by itself
MONTHS_END = 10_000  # numbers of months are below this until 2803, numbers of days above it since 1997

log = logs.get("edge")


class Quotas:
    """States of quotas by key.

    Args:
        path: the file; None keeps them in this process, as an application of one process needs it.
        counters: callers forgotten because their row was full are counted here.
        max_entries: kept in this process at most, while there is no file or it cannot be written.
    """

    def __init__(self, path: Path | None, counters: WorkerCounters, *, max_entries: int = 65_536) -> None:
        self._path = path
        self._counters = counters
        self._max_entries = max_entries
        self._memory: dict[LimitKey, int] = {}
        self._fd = -1
        self._no_lock_until = 0.0
        self._fails_until = 0.0

    def close(self) -> None:
        """Close the file; what it holds is safe as it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else changes a quota inside this."""
        fd = self._open()
        locked = fd >= 0 and self._lock(fd)
        try:
            yield
        finally:
            if locked:
                fcntl.flock(fd, fcntl.LOCK_UN)

    def read(self, key: LimitKey) -> int | None:
        """The state of a quota, None for one never used."""
        remembered = self._memory.get(key)
        if self._fd < 0:
            return remembered
        name = _digest(key)
        try:
            row = os.pread(self._fd, _ROW_BYTES, _offset(name))
        except OSError as error:
            self._fail(error)
            return remembered
        for digest, state in _PLACE.iter_unpack(row[: len(row) // _PLACE.size * _PLACE.size]):
            if digest == name:
                return max(int(state), remembered or 0)
        return remembered

    def write(self, key: LimitKey, state: int, wall: int) -> None:
        """Keep a state; ``wall`` tells which of the others are over."""
        if self._fd < 0 or time.monotonic() < self._fails_until:
            self._remember(key, state)
            return
        name = _digest(key)
        offset = _offset(name)
        try:
            row = os.pread(self._fd, _ROW_BYTES, offset)
            place = self._place(row, name, wall)
            os.pwrite(self._fd, _PLACE.pack(name, state), offset + place * _PLACE.size)
        except OSError as error:
            self._fail(error)
            self._remember(key, state)

    def _place(self, row: bytes, name: bytes, wall: int) -> int:
        """Where in its row a digest goes: its own place, a free one, or that of who used least."""
        places = list(_PLACE.iter_unpack(row.ljust(_ROW_BYTES, b"\0")))
        for index, (digest, _) in enumerate(places):
            if digest == name:
                return index
        oldest = {kind: period(kind, wall).number for kind in (DAY, MONTH)}
        for index, (_, state) in enumerate(places):
            number = state // PERIOD
            if number < oldest[MONTH if number < MONTHS_END else DAY]:
                return index
        self._counters.count("sentinel_quotas_forgotten_total")
        return min(range(WAYS), key=lambda index: places[index][1] % PERIOD)

    def _remember(self, key: LimitKey, state: int) -> None:
        self._memory.pop(key, None)
        self._memory[key] = state
        if len(self._memory) > self._max_entries:
            self._counters.count("sentinel_quotas_forgotten_total")
            del self._memory[next(iter(self._memory))]

    def _open(self) -> int:
        if self._fd < 0 and self._path is not None and time.monotonic() >= self._fails_until:
            try:
                self._fd = _opened(self._path)
            except OSError as error:
                self._fail(error)
        return self._fd

    def _lock(self, fd: int) -> bool:
        """Take the lock, but never wait for a frozen process: better two charges counted as one than to stand."""
        if time.monotonic() < self._no_lock_until:
            return False
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(LOCK_PAUSE_S)
            except OSError:
                return False
            else:
                return True
        self._no_lock_until = time.monotonic() + LOCK_REST_S
        return False

    def _fail(self, error: OSError) -> None:
        """Count in this process for a while; what the file holds still counts."""
        if time.monotonic() >= self._fails_until:
            log.warning("quotas.unwritable", path=str(self._path), reason=type(error).__name__, detail=str(error)[:200])
        self._fails_until = time.monotonic() + FAIL_REST_S


def _digest(key: LimitKey) -> bytes:
    name, whom = key
    return blake2b(f"{name}\0{whom}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _offset(digest: bytes) -> int:
    return int.from_bytes(digest[:4], "little") % ROWS * _ROW_BYTES


def _opened(path: Path) -> int:
    """The file, made whole by whoever comes first; one of another size is made anew."""
    size = ROWS * _ROW_BYTES
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if os.fstat(fd).st_size == size:
            return fd
        os.close(fd)
        path.unlink(missing_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        fresh.touch(mode=0o600)
        fresh.write_bytes(bytes(size))  # all of it at once: a disk that is full later takes nothing from it
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(fresh)
    finally:
        fresh.unlink(missing_ok=True)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)

"""The file a Snapshot travels in: magic, format version, length, checksum, MessagePack. Written beside and renamed."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import logs
from gateway.domain.snapshot import Snapshot
from gateway.errors import CorruptSnapshotError, SnapshotWriteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_log = logs.get("config")

MAGIC = b"SNTLSNAP"
VERSION = 3  # raise it when a Snapshot of an older program can no longer be decoded
LARGEST = 512 * 1024 * 1024  # a length beyond it is damage, not a configuration
_LARGE = 1024 * 1024  # about 3,000 routes; below it a load takes a few milliseconds whatever the collector does
_HEAD = struct.Struct("<8sHQ16s")  # magic, version, payload length, BLAKE2b of the payload
_DIGEST_BYTES = 16
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)

Signature = tuple[int, int, int]  # inode, size, modification time in ns: differs after every rename


def encode(snapshot: Snapshot) -> bytes:
    """The whole content of a snapshot file."""
    payload = _encoder.encode(snapshot)
    return _HEAD.pack(MAGIC, VERSION, len(payload), _digest(payload)) + payload


def decode(content: bytes, source: str = "snapshot") -> Snapshot:
    """The Snapshot in a file's content; ``source`` is named in errors.

    Raises:
        CorruptSnapshotError: truncated, of another version, altered, or not a snapshot at all.
    """
    remedy = "control writes a new one when it starts; remove the file if it stays"
    if len(content) < _HEAD.size:
        raise CorruptSnapshotError(f"{source} is truncated: {len(content)} bytes", remedy=remedy)
    magic, version, length, digest = _HEAD.unpack_from(content)
    payload = content[_HEAD.size :]
    if magic != MAGIC:
        raise CorruptSnapshotError(f"{source} is not a snapshot", remedy=remedy)
    if version != VERSION:
        raise CorruptSnapshotError(f"{source} has format {version}, this program reads {VERSION}", remedy=remedy)
    if length != len(payload):
        raise CorruptSnapshotError(f"{source} should hold {length} bytes, found {len(payload)}", remedy=remedy)
    if digest != _digest(payload):
        raise CorruptSnapshotError(f"{source} fails its checksum", remedy=remedy)
    try:
        with _uncollected():
            return _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise CorruptSnapshotError(f"{source} does not decode: {error}", remedy=remedy) from error


@contextmanager
def _uncollected(*, keep: bool = False) -> Iterator[None]:
    """Without the garbage collector meanwhile: it looks for rings again and again in what can hold none.

    A decoder keeps the interpreter's lock throughout, so a thread beside the event loop does not help. 10,000 routes
    with everything on them took 0.8 s of a process with the usual settings, 0.1 s of a worker, and take 0.05 s and
    0.07 s. With ``keep`` the collector never walks what was made: a snapshot is freed by its last reference, for it
    holds no rings.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        if keep:
            gc.freeze()
    finally:
        if was_on:
            gc.enable()


def write(path: Path, snapshot: Snapshot) -> None:
    """Put a snapshot in place of the one before, mode 0600. Readers see the old or the new, never a part.

    It is not flushed to the disk by force: after a power cut the checksum tells a damaged file, and control writes a
    new one at every start; an fsync would hold up control's event loop at each directive.

    Raises:
        SnapshotWriteError: the file could not be written; the old one stays.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(encode(snapshot))
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise SnapshotWriteError(
            f"cannot write {path}: {error.strerror}", remedy=f"check space and rights of {path.parent}"
        ) from error


def read(path: Path) -> Snapshot:
    """The snapshot in force.

    Raises:
        CorruptSnapshotError: the file cannot be used.
        FileNotFoundError: none was written yet.
    """
    with path.open("rb") as file:
        return decode(file.read(LARGEST + 1), str(path))


def _read_quietly(path: Path) -> Snapshot:
    """As :func:`read`, sparing a worker under load the pauses that a large snapshot would bring."""
    if path.stat().st_size < _LARGE:
        return read(path)
    gc.collect()  # so that no garbage is kept; what a worker began with is frozen, so there is little to walk
    with _uncollected(keep=True):
        return read(path)


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest()


class SnapshotWatcher:
    """Notices a new snapshot by stat, loads it off the event loop, hands it on. A bad file keeps the old one.

    Args:
        path: the file.
        on_change: gets the snapshot, or what ``prepare`` made of it, on the event loop.
        interval_s: how often to look.
        prepare: run in the loading thread, for what takes long with many routes.
    """

    def __init__(
        self,
        path: Path,
        on_change: Callable[[Any], None],
        interval_s: float = 0.5,
        *,
        prepare: Callable[[Snapshot], Any] = lambda snapshot: snapshot,
    ) -> None:
        self._path = path
        self._on_change = on_change
        self._interval_s = interval_s
        self._prepare = prepare
        self._seen: Signature | None = None

    def first(self) -> Snapshot:
        """Read the file now and remember it as seen; ``on_change`` is not called. Raises what :func:`read` raises."""
        seen = self._signature()
        snapshot = read(self._path)
        self._seen = seen
        return snapshot

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_s)

    async def look(self) -> bool:
        """Look once; True when a new snapshot was handed on."""
        signature = self._signature()
        if signature is None or signature == self._seen:
            return False
        # Noted before reading: a rename meanwhile shows a new signature at the next look. A bad file is told once.
        self._seen = signature
        try:
            snapshot = await asyncio.to_thread(_read_quietly, self._path)
        except (CorruptSnapshotError, OSError) as error:
            _log.error("snapshot.refused", path=str(self._path), reason=str(error))
            return False
        try:
            self._on_change(await asyncio.to_thread(self._prepare, snapshot))
        except Exception:  # noqa: BLE001 - the border of this task: what cannot be taken in must not end the watch
            _log.exception("snapshot.not_applied", revision=snapshot.revision)
            return False
        return True

    def _signature(self) -> Signature | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns)
